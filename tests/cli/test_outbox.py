"""``profilekit outbox``, on files that an outbox has open and on those that none has."""

import asyncio
import json
import sqlite3
from datetime import datetime

import pytest
from outboxes import NO_CONTENT, body, opened, write, written
from stub import Stub, response

from profilekit.outbox.rows import Ends
from profilekit.outbox.store import Store


@pytest.fixture
def path(tmp_path):
    return tmp_path / "writes.db"


def bad(user):
    return f"bad-{user}\x1b[31m\u009b\u202e\x7f"


def answer(request):
    said = b"no \x1b[2J such field"
    return response(400, said) if body(request)["userId"].startswith("bad") else NO_CONTENT


@pytest.fixture
def used(path):
    """An outbox of four dead letters that delivered two, and has two to deliver."""

    async def main():
        async with opened(path, Stub(answer)) as outbox:
            for user in (bad(1), "good-1", bad(2), bad(3), "good-2", bad(4)):
                await outbox.put(write(user, secret="payload"))
            await outbox.drained()
        stuck = asyncio.Event()
        stub = Stub(lambda request: NO_CONTENT)
        stub.exchange = lambda request, deadline, sent: stuck.wait()
        async with opened(path, stub) as outbox:
            await outbox.put(write("left-1", n=1))
            await outbox.put(write("left-2", n=2))
            await outbox.close(grace=0)

    asyncio.run(main())
    return path


def lines(out):
    return [json.loads(line) for line in out.splitlines()]


def harmless(out):
    return out.isascii() and all(character.isprintable() or character == "\n" for character in out)


def test_status(cli, used):
    status, out, err = cli("outbox", "status", used)
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found.pop("oldest") >= 0
    assert found == {"pending": 2, "dead": 4, "delivered": 2, "requests": 6, "saved": 0, "repeated": 0}


def test_list_shows_dead_letters_without_what_they_write(cli, used):
    status, out, err = cli("outbox", "list", used)
    assert (status, err) == (0, "")
    assert harmless(out)
    assert "payload" not in out
    first, *_ = found = lines(out)
    assert [letter["ids"] for letter in found] == [[bad(number)] for number in (1, 2, 3, 4)]
    assert set(first) == {"seq", "put_at", "request", "ids", "error", "attempts"}
    assert (first["seq"], first["request"], first["attempts"]) == (1, "userflux.UpdateProfile", 1)
    assert datetime.fromisoformat(first["put_at"]).tzinfo is not None
    assert (first["error"]["type"], first["error"]["status"]) == ("InvalidRequestError", 400)
    assert "such field" in first["error"]["message"]


def test_list_shows_what_waits(cli, used):
    status, out, _ = cli("outbox", "list", used, "--pending")
    assert status == 0
    assert [(letter["ids"], letter["error"]["type"]) for letter in lines(out)] == [
        (["left-1"], None),
        (["left-2"], None),
    ]


def test_list_shows_no_more_than_asked(cli, used):
    for limit, shown in (("3", 3), ("4", 4), ("100", 4)):
        assert len(lines(cli("outbox", "list", used, "--limit", limit)[1])) == shown
    assert cli("outbox", "list", used, "--limit", "0")[0] == 2


def test_a_long_list_is_whole(cli, path):
    store = Store(path)
    store.close()
    connection = sqlite3.connect(path)
    connection.executemany(
        "INSERT INTO pending (put_at, kind, ids, request) VALUES (0, 'k', '[]', '{}')", [()] * 1500
    )
    connection.commit()
    connection.close()
    for options, count in (([], 1500), (["--limit", "1000"], 1000), (["--limit", "1001"], 1001)):
        found = lines(cli("outbox", "list", path, "--pending", *options)[1])
        assert [letter["seq"] for letter in found] == list(range(1, count + 1))


def test_retry_moves_them_to_the_end_of_the_line(cli, used):
    assert cli("outbox", "retry", used, 4, 1)[:2] == (0, "2 to be delivered again\n")
    waiting = lines(cli("outbox", "list", used, "--pending")[1])
    assert [letter["ids"][0] for letter in waiting] == ["left-1", "left-2", bad(1), bad(3)]
    assert [letter["seq"] for letter in lines(cli("outbox", "list", used)[1])] == [3, 6]
    assert cli("outbox", "retry", used, "--all")[1] == "2 to be delivered again\n"
    assert json.loads(cli("outbox", "status", used)[1])["pending"] == 6
    assert cli("outbox", "retry", used, "--all")[1] == "0 to be delivered again\n"


def test_drop_deletes_them(cli, used):
    assert cli("outbox", "drop", used, 3)[:2] == (0, "1 dropped\n")
    assert cli("outbox", "drop", used, "--all")[:2] == (0, "3 dropped\n")
    assert json.loads(cli("outbox", "status", used)[1])["dead"] == 0


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_what_cannot_be_chosen(cli, used, command):
    for choice in ([], ["1", "--all"], ["x"], ["1", "99"], ["2"]):
        status, out, err = cli("outbox", command, used, *choice)
        assert (status, out) == (2, "")
        assert err.startswith("profilekit: ")
    assert len(lines(cli("outbox", "list", used)[1])) == 4


def test_help_says_what_retry_may_overwrite(cli):
    _, out, _ = cli("outbox", "retry", "--help")
    assert "END of the line" in out
    assert "overwritten with the older values" in " ".join(out.split())


@pytest.mark.parametrize("command", [["status"], ["list"], ["retry", "--all"], ["drop", "--all"]])
def test_a_file_that_is_no_outbox(cli, tmp_path, command):
    for name, content, code, said in (
        ("missing.db", None, 2, "does not exist"),
        ("text.db", "no database at all" * 100, 2, "it is not a database"),
        ("empty.db", "", 2, "is a database, but not an outbox"),
    ):
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        status, out, err = cli("outbox", command[0], path, *command[1:])
        assert (status, out) == (code, "")
        assert said in err
        assert path.exists() == (content is not None)
        assert not path.exists() or path.read_text() == content


async def test_an_outbox_that_is_open_goes_on_and_notices(cli, used):
    refuses = True
    stub = Stub(lambda request: answer(request) if refuses else NO_CONTENT)
    async with opened(used, stub) as outbox:
        await outbox.drained()
        assert outbox.stats().dead == 4
        assert json.loads((await asyncio.to_thread(cli, "outbox", "status", used))[1])["delivered"] == 4
        refuses = False
        await asyncio.to_thread(cli, "outbox", "drop", used, 3)
        await asyncio.to_thread(cli, "outbox", "retry", used, "--all")
        while outbox.stats().delivered < 7:
            await asyncio.sleep(0.001)
        assert outbox.stats().dead == 0
    assert [user for user, _ in written(stub)][-3:] == [bad(1), bad(3), bad(4)]


def test_a_slow_reader_does_not_stand_in_the_way(cli, used):
    from profilekit.outbox import letters

    reading = letters.dead(used)
    next(reading)
    store = Store(used)
    store.commit([], Ends([7, 8]))
    store.close()
    assert len(list(reading)) == 3
