"""Text from outside that would drive a terminal, on its way through every command: none of it gets there."""

import asyncio
import json
import os
import threading
import unicodedata
import zlib
from contextlib import contextmanager

import pytest
from outboxes import body, opened, write
from rawserver import raw_server, saying
from stub import Stub, response
from terminals import in_terminal

HOSTILE = "\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202e\u2066\u200b\u2028[red]:x:"
WRITTEN_OUT = r"\x1b]0;owned\x07\x1b[31m\x9b31m\x7f\u202e\u2066\u200b\u2028[red]:x:"
UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def inert(*texts):
    """Say whether nothing in texts does more than to be shown, line by line."""
    return not any(unicodedata.category(sign) in UNSAFE and sign != "\n" for text in texts for sign in text)


def unfolded(text):
    """Take out the line breaks of a table that folds what is long."""
    return text.replace("\n", "")


@contextmanager
def vendor_saying(answer, monkeypatch):
    """Lead the environment's accounts to a server that gives one answer to everything."""
    is_up, loop = threading.Event(), asyncio.new_event_loop()

    async def serve():
        nonlocal done, url
        done = asyncio.Event()
        async with raw_server(saying(answer)) as server:
            url = server.url
            is_up.set()
            await done.wait()

    done, url = None, ""
    serving = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    serving.start()
    is_up.wait()
    for vendor, key in (("AMPLITUDE", "SECRET"), ("USERFLUX", "READ")):
        monkeypatch.setenv(f"{vendor}_{key}_KEY", "key")
        monkeypatch.setenv(f"{vendor}_BASE_URL", url)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        serving.join()
        loop.close()


def answer_of(status, content, content_type):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\nContent-Type: {content_type}\r\n\r\n"
    return head.encode("latin-1") + content


@pytest.mark.parametrize("output", [HOSTILE + ".csv", HOSTILE + ".jsonl"])
def test_names_of_files_in_all_that_a_list_says(cli, simulated, tmp_path, output):
    source = tmp_path / f"{HOSTILE}.txt"
    source.write_text(f"unknown{HOSTILE}\nu1\n")
    enrich = ("enrich", source, "-o", tmp_path / output, "--vendor", "amplitude")
    for arguments, wanted in (
        ((*enrich, "--dry-run"), 0),
        (enrich, 3),
        ((*enrich, "--retry-failed"), 3),
        (("enrich", source, "-o", source, "--vendor", "amplitude"), 2),
        (("enrich", tmp_path / f"{HOSTILE}.none", "-o", tmp_path / "o.csv", "--vendor", "amplitude"), 2),
    ):
        status, out, err = cli(*arguments)
        assert status == wanted, err
        assert inert(out, err)
        assert WRITTEN_OUT in unfolded(out + err)


def test_headers_in_what_is_said_of_a_list(cli, simulated, tmp_path):
    source = tmp_path / "in.csv"
    for header, options in (
        (f"{HOSTILE},n", ()),
        (f"user_id,{HOSTILE}", ("--column", "rec_id=none")),
        (f"user_id,{HOSTILE}", ("--property", HOSTILE)),
    ):
        source.write_text(f"{header}\nu1,x\n")
        status, out, err = cli("enrich", source, "-o", tmp_path / "o.csv", "--vendor", "amplitude", *options)
        assert (status, out) == (2, "")
        assert inert(err)
        assert r"\x1b]0;owned\x07" in err


def test_a_journal_that_is_no_journal_is_one_line_in_the_words_of_the_command_line(cli, simulated, tmp_path):
    (tmp_path / "in.txt").write_text("u1\n")
    output = tmp_path / f"{HOSTILE}.jsonl"
    journal = output.with_name(f"{output.name}.journal")
    enrich = ("enrich", tmp_path / "in.txt", "-o", output, "--vendor", "amplitude")
    os.mkfifo(journal)
    status, out, err = cli(*enrich)
    assert (status, out, err.count("\n"), inert(err)) == (2, "", 1, True)
    assert "cannot be used as a journal (not an ordinary file): move it out of the way" in err
    journal.unlink()
    cli(
        "enrich", tmp_path / "in.txt", "-o", output, "--vendor", "amplitude", "--get-recs", "--rate", "1/1000"
    )
    journal.write_bytes(b'%08x {"journal":1}\n' % zlib.crc32(b'{"journal":1}'))
    status, out, err = cli(*enrich)
    assert (status, out, err.count("\n"), inert(err)) == (2, "", 1, True)
    assert "or start over with --fresh" in err
    assert f"{WRITTEN_OUT}.jsonl.journal" in err


@pytest.mark.parametrize(
    ("status", "content"),
    [
        ("200 OK", HOSTILE.encode()),
        ("200 OK", b'{"userData": {"user_id": 5, "\xe2\x80\xae": 1}}'),
        ("400 \x1b[31mBad", HOSTILE.encode()),
        ("404 Not Found", HOSTILE.encode()),
    ],
    ids=["no JSON", "another shape", "refused", "unknown"],
)
def test_what_a_vendor_answers_is_written_out(cli, monkeypatch, tmp_path, status, content):
    (tmp_path / "in.txt").write_text("u1\n")
    with vendor_saying(answer_of(status, content, "text/html; \x9b\x1b[2J"), monkeypatch):
        for arguments in (
            ("get", "amplitude", "u1", "--get-recs"),
            ("get", "userflux", HOSTILE),
            ("enrich", tmp_path / "in.txt", "-o", tmp_path / "o.csv", "--vendor", "amplitude"),
        ):
            ended, out, err = cli(*arguments)
            assert ended in {0, 1, 3}, err
            assert inert(out, err)


def test_a_profile_is_printed_as_json_that_reads_as_it_is(cli, simulated):
    text = HOSTILE + "日本\t\n\r\x00"
    assert cli("update", "userflux", "u1", f"{HOSTILE}={json.dumps(text)}")[0] == 0
    status, out, err = cli("get", "userflux", "u1")
    assert (status, err) == (0, "")
    assert json.loads(out)["properties"][HOSTILE] == text
    assert inert(out)
    assert "日本" in out


@pytest.mark.parametrize(
    "arguments",
    [
        (HOSTILE,),
        (f"--{HOSTILE}",),
        ("get", HOSTILE),
        ("get", "amplitude", "u", f"--{HOSTILE}"),
        ("get", "amplitude", "u", "--limit", HOSTILE),
        ("get", "amplitude", "u", "--propensity-type", HOSTILE),
        ("get", "amplitude", "u", HOSTILE),
        ("update", "userflux", "u", HOSTILE),
        ("update", "userflux", "u", "a=1", "--device-data", HOSTILE),
        ("enrich", "x", "-o", HOSTILE, "--vendor", "amplitude"),
        ("enrich", "x", "-o", f"{HOSTILE}/{HOSTILE}.csv", "--vendor", "amplitude"),
        ("enrich", "x", "-o", "o.csv", "--vendor", HOSTILE),
        ("enrich", "x", "-o", "o.csv", "--vendor", "amplitude", "--rate", HOSTILE),
        ("enrich", "x", "-o", "o.csv", "--vendor", "amplitude", "--column", f"{HOSTILE}=a"),
        ("enrich", HOSTILE, "-o", "o.csv", "--vendor", "amplitude"),
        ("update", HOSTILE, "--vendor", "userflux"),
        ("outbox", "status", HOSTILE),
        ("outbox", "retry", HOSTILE, "1"),
        ("simulate", "--host", HOSTILE),
        ("simulate", "--rate", HOSTILE),
        ("demo", "--users", HOSTILE),
    ],
)
def test_an_argument_that_is_repeated_in_an_error_is_written_out(
    cli, simulated, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    status, out, err = cli(*arguments)
    assert status in {1, 2}
    assert out == ""
    assert err.count("\n") == 1
    assert inert(err)


def test_live_stats_and_their_paths(cli, tmp_path):
    path = tmp_path / f"{HOSTILE}.stats"
    path.write_bytes(b"\x1b[31m" * 10)
    for options in ((), ("--once",), ("--json",)):
        status, out, err = cli("top", *options, path, tmp_path / f"{HOSTILE}.none")
        assert status == 1
        assert inert(out, err)
        assert "it holds no stats of profilekit" in out + err


def test_what_an_outbox_holds_and_is_called(cli, tmp_path):
    path = tmp_path / f"{HOSTILE}.db"

    def refuse(request):
        return response(400, f"no {HOSTILE} {body(request)['userId']}".encode())

    async def main():
        async with opened(path, Stub(refuse)) as outbox:
            await outbox.put(write(HOSTILE, secret="x"))
            await outbox.drained()

    asyncio.run(main())
    status, out, err = cli("outbox", "list", path)
    assert (status, err, inert(out)) == (0, "", True)
    assert json.loads(out)["ids"] == [HOSTILE]
    (tmp_path / f"{HOSTILE}.none").write_text("no database")
    status, out, err = cli("outbox", "list", tmp_path / f"{HOSTILE}.none")
    assert (status in {1, 2}, out, inert(err)) == (True, "", True)


def test_the_folder_of_a_demo(cli, tmp_path):
    status, out, err = cli("demo", "--users", "3", "--directory", tmp_path / HOSTILE)
    assert status == 0, err
    assert inert(out, err)
    assert f"{tmp_path / WRITTEN_OUT / 'users.csv'}" in unfolded(out)
    status, _, err = cli("demo", "--directory", tmp_path / HOSTILE)
    assert (status, inert(err)) == (2, True)


def test_a_terminal_gets_of_a_list_only_what_draws_its_bars(simulated, tmp_path):
    source = tmp_path / f"{HOSTILE}.txt"
    source.write_text("unknown\nu1\n")
    for options in ((), ("--live",)):
        arguments = ("enrich", source, "-o", tmp_path / f"{HOSTILE}.csv", "--vendor", "amplitude", *options)
        with in_terminal(*arguments) as terminal:
            assert terminal.ended() == 3
        assert inert(terminal.text)
        assert not any(
            sign.encode() in terminal.drawn for sign in ("\x1b]", "\x07", "\x9b", "\u202e", "\u2028")
        )
        assert "[red]:x:" in unfolded(terminal.text)
