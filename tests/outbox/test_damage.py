"""Damaged and forged files: one row keeps no other back, and only OutboxError comes out."""

import asyncio
import os
import sqlite3
import struct

import pytest
from outboxes import ACCOUNT, accepting, opened, write, written

from profilekit import ProfileClient
from profilekit.errors import ConfigError, OutboxError
from profilekit.outbox import Outbox, letters
from profilekit.outbox.rows import Ends, Put
from profilekit.outbox.store import Store

ESCAPES = "\x1b[2J\x9b\u202e\u2066\u200f\u061c\u2028"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "writes.db"


def put(user, text=None, kind="userflux.UpdateProfile"):
    return Put(1.5, kind, (user,), text or b'{"userId":"%b","properties":{"n":1}}' % user.encode())


def filled(path, *puts):
    store = Store(path)
    store.commit(puts or [put(f"u{n}") for n in range(1, 6)], Ends())
    store.close()
    return path


def execute(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def delivered(path, **options):
    """Open an outbox on a file until all is delivered or dead; return whom it was about, and its stats."""
    stub = accepting()
    async with opened(path, stub, **options) as outbox:
        await outbox.drained()
        return [user for user, _ in written(stub)], outbox.stats()


# ---- one damaged row ---------------------------------------------------------------------------

THIRD = "WHERE seq = 3"
FORGED = "checksum = NULL, request"
DAMAGE = {
    "request is not UTF-8": f"UPDATE pending SET request = request || x'ff' {THIRD}",
    "request is text": f"UPDATE pending SET request = 'x' {THIRD}",
    "request is a number": f"UPDATE pending SET request = 7 {THIRD}",
    "request is another write": f"UPDATE pending SET request = (SELECT request FROM pending) {THIRD}",
    "one bit of it": f"""UPDATE pending SET request = CAST(replace(request, '"n"', '"o"') AS BLOB) {THIRD}""",
    "kind": f"UPDATE pending SET kind = 'userflux.UpdateProfilf' {THIRD}",
    "kind is not UTF-8": f"UPDATE pending SET kind = CAST(x'ff1b5b' AS TEXT) {THIRD}",
    "kind is a blob": f"UPDATE pending SET kind = x'00ff' {THIRD}",
    "kind is a number": f"UPDATE pending SET kind = 9223372036854775807 {THIRD}",
    "ids are no JSON": f"UPDATE pending SET ids = '[\"u' {THIRD}",
    "ids are not UTF-8": f"UPDATE pending SET ids = CAST(x'5b22ff225d' AS TEXT) {THIRD}",
    "ids are of another user": f"UPDATE pending SET ids = '[\"u1\"]' {THIRD}",
    "ids are numbers": f"UPDATE pending SET ids = '[1]' {THIRD}",
    "ids are the same": f'UPDATE pending SET ids = \'["u3", "u3"]\', checksum = NULL {THIRD}',
    "put_at is text": f"UPDATE pending SET put_at = 'noon' {THIRD}",
    "put_at is a blob": f"UPDATE pending SET put_at = x'ff' {THIRD}",
    "put_at is huge": f"UPDATE pending SET put_at = 9e999 {THIRD}",
    "put_at is negative": f"UPDATE pending SET put_at = -1e300 {THIRD}",
    "checksum": f"UPDATE pending SET checksum = checksum + 1 {THIRD}",
    "checksum is text": f"UPDATE pending SET checksum = 'x' {THIRD}",
    "checksum is a blob": f"UPDATE pending SET checksum = x'00' {THIRD}",
    "all at once": f"UPDATE pending SET put_at = 'x', kind = x'ff', ids = 5, request = 'y' {THIRD}",
    "forged, of no class": f"UPDATE pending SET kind = 'no.Such', checksum = NULL {THIRD}",
    "forged, about another": f"""UPDATE pending SET {FORGED} = '{{"userId":"u1"}}' {THIRD}""",
    "forged, refused": f"""UPDATE pending SET {FORGED} = '{{"userId":"null"}}', ids = '["null"]' {THIRD}""",
    "forged, not JSON": f"UPDATE pending SET {FORGED} = '{{' {THIRD}",
    "forged, half a pair": f"""UPDATE pending SET {FORGED} = '{{"userId":"\\ud800"}}' {THIRD}""",
    "forged, deep": f"""UPDATE pending SET {FORGED} = printf('{{"properties":%.9000c', '[') {THIRD}""",
    "forged, huge": f"""UPDATE pending SET {FORGED} =
        '{{"userId":"u3","properties":{{"n":' || printf('%.999c', '9') || '}}}}' {THIRD}""",
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_one_damaged_row_keeps_no_other_back(path, damage, caplog):
    execute(filled(path), DAMAGE[damage])
    users, stats = await delivered(path)
    assert sorted(users) == ["u1", "u2", "u4", "u5"]
    assert (stats.pending, stats.dead, stats.delivered, stats.held) == (0, 1, 4, None)
    (letter,) = letters.dead(path)
    assert letter.seq == 3
    assert letter.message
    (record,) = (record for record in caplog.records if record.levelname == "ERROR")
    assert (
        f"{path}: writes that cannot be read became dead letters: 1, the first of them number 3"
        in record.getMessage()
    )
    assert letters.drop(path) == 1


async def test_those_of_the_same_user_go_in_order_without_it(path):
    requests = [b'{"userId":"u","properties":{"n":%d}}' % n for n in range(5)]
    execute(filled(path, *(put("u", text) for text in requests)), DAMAGE["one bit of it"])
    for merge, sent in ((False, [{"n": 0}, {"n": 1}, {"n": 3}, {"n": 4}]), (True, [])):
        stub = accepting()
        async with opened(path, stub, merge=merge) as outbox:
            await outbox.drained()
        assert [properties for _, properties in written(stub)] == sent


async def test_a_damaged_row_that_another_program_adds_while_it_is_open(path):
    stub = accepting()
    async with opened(path, stub) as outbox:
        await outbox.put(write("a", n=1))
        await outbox.drained()
        values = """7, 'userflux.UpdateProfile', '["b"]', x'7b7d'"""
        execute(path, f"INSERT INTO pending (put_at, kind, ids, request) VALUES ({values})")
        execute(path, "INSERT INTO pending (put_at, kind, ids, request) VALUES ('x', x'ff', 1, 2)")
        while outbox.stats().dead < 2:
            await asyncio.sleep(0.001)
        await outbox.put(write("c", n=1))
        await outbox.drained()
        assert (outbox.stats().pending, outbox.stats().held) == (0, None)
    assert [user for user, _ in written(stub)] == ["a", "c"]


async def test_a_write_of_a_class_that_is_only_missing_stays_where_it_is(path):
    filled(path, put("a", kind="acme.Move"), put("b", kind="acme.Move"))
    execute(path, "UPDATE pending SET request = 'x' WHERE seq = 1")
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        with pytest.raises(OutboxError, match="holds writes of the class acme.Move"):
            await Outbox(path, client).__aenter__()
    assert letters.status(path).pending == 2


async def test_retry_says_why_a_damaged_one_cannot_be_delivered(path, cli):
    execute(filled(path), DAMAGE["one bit of it"])
    await delivered(path)
    with pytest.raises(ConfigError, match="letter 3 cannot be delivered, as its checksum does not match"):
        letters.retry(path, [3])
    status, out, err = await asyncio.to_thread(cli, "outbox", "retry", path, 3)
    assert (status, out) == (2, "")
    assert "its checksum does not match: drop it" in err
    status, out, err = await asyncio.to_thread(cli, "outbox", "retry", path, "--all")
    assert (status, err) == (0, "")
    assert out.startswith("0 to be delivered again\n1 cannot be delivered, as they are damaged")
    assert letters.status(path).dead == 1


async def test_a_number_that_a_dead_letter_has_already(path):
    execute(filled(path), DAMAGE["checksum"])
    await delivered(path)
    execute(path, "DELETE FROM sqlite_sequence")
    filled(path)
    execute(path, DAMAGE["checksum"])
    _, stats = await delivered(path)
    assert stats.dead == 2
    assert [letter.ids for letter in letters.dead(path)] == [("u3",), ("u3",)]


# ---- what is around the rows -------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM totals",
        "INSERT INTO totals VALUES (1, 2, 3, 4)",
        "UPDATE totals SET delivered = 'many'",
        "UPDATE totals SET requests = 9223372036854775807, saved = x'00'",
        "UPDATE totals SET repeated = -1",
    ],
)
async def test_damaged_totals_start_again(path, statement, caplog, cli):
    execute(filled(path), statement)
    status, _, err = await asyncio.to_thread(cli, "outbox", "status", path)
    assert status == 0 or "its totals are damaged" in err
    _, stats = await delivered(path)
    assert (stats.delivered, stats.requests, stats.repeated) == (5, 5, 0)
    assert "its totals were damaged" in caplog.text
    assert letters.status(path).delivered == 5


@pytest.mark.parametrize("seq", [-5, 0, 2**53 + 1, 2**63 - 1])
async def test_numbers_that_no_outbox_gives(path, seq):
    execute(filled(path), f"UPDATE pending SET seq = {seq} WHERE seq = 3")
    for number in range(2):
        stub = accepting()
        async with opened(path, stub) as outbox:
            await outbox.put(write("new", n=1))
            await outbox.drained()
        assert sorted(user for user, _ in written(stub)) == (["new"] if number else ["new", *ALL_USERS])


ALL_USERS = ["u1", "u2", "u3", "u4", "u5"]


@pytest.mark.parametrize("seq", ["'x'", "NULL", "x'ff'", "9223372036854775807", "1e300"])
async def test_a_damaged_sequence(path, seq):
    execute(filled(path), f"UPDATE sqlite_sequence SET seq = {seq}")
    async with opened(path, accepting()) as outbox:
        await outbox.put(write("new", n=1))
        await outbox.drained()
        assert outbox.stats().delivered == 6


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE totals",
        "DROP TABLE dead",
        "ALTER TABLE pending DROP COLUMN checksum",
        "ALTER TABLE pending ADD COLUMN more",
        "CREATE TRIGGER t AFTER INSERT ON pending BEGIN DELETE FROM pending; END",
        "CREATE UNIQUE INDEX i ON pending (ids)",
    ],
)
async def test_tables_that_are_not_those_of_an_outbox(path, statement, cli):
    execute(filled(path), statement)
    await refused(path, cli, "another program has changed")


@pytest.mark.parametrize("version", [0, 2, 99, -1])
async def test_another_version(path, version, cli):
    execute(filled(path), f"PRAGMA user_version = {version}")
    await refused(path, cli, f"of version {version}")


async def refused(path, cli, said):
    """Both the library and the command line say what is wrong with which file, and change nothing."""
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        with pytest.raises(OutboxError, match=said) as caught:
            await Outbox(path, client).__aenter__()
    assert str(path) in str(caught.value)
    for command in (["status"], ["list"], ["list", "--pending"], ["retry", "--all"], ["drop", "--all"]):
        status, out, err = await asyncio.to_thread(cli, "outbox", command[0], path, *command[1:])
        assert (status, out) == (2, "")
        assert err.startswith("profilekit: ")
        assert err.count("\n") == 1


async def test_what_is_no_regular_file(tmp_path, cli):
    fifo, loop, device = tmp_path / "fifo", tmp_path / "loop", tmp_path / "device"
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    device.symlink_to("/dev/zero")
    await refused(fifo, cli, "not a regular file")
    await refused(loop, cli, "symbolic links")
    await refused(tmp_path, cli, "Is a directory")
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        with pytest.raises(OutboxError, match="not a regular file"):
            await Outbox(device, client).__aenter__()


@pytest.mark.parametrize("content", [b"\0" * 4096, b"SQLite format 3\0", bytes(range(256)) * 64])
async def test_random_bytes(path, content, cli):
    path.write_bytes(content)
    await refused(path, cli, "it is not a database|it is damaged|not an outbox")
    assert path.read_bytes() == content


# ---- pages that SQLite cannot read -------------------------------------------------------------


def page_size(path):
    return struct.unpack(">H", path.read_bytes()[16:18])[0]


def overflow_page_of(path, marker):
    data, size = path.read_bytes(), page_size(path)
    return data.index(marker) // size * size


async def test_a_page_that_is_damaged_takes_only_its_own_row_with_it(path, caplog):
    large = [
        b'{"userId":"u%d","properties":{"n":"%b"}}' % (n, b"abcdef"[n : n + 1] * 9_000) for n in range(1, 6)
    ]
    filled(path, *(put(f"u{n}", text) for n, text in enumerate(large, 1)))
    at = overflow_page_of(path, b"d" * 4_000)
    with path.open("r+b") as file:
        # The number of the next page of the same row: there is none such.
        file.seek(at)
        file.write(b"\x7f\xff\xff\xff")
    users, stats = await delivered(path)
    assert sorted(users) == ["u1", "u2", "u4", "u5"]
    assert (stats.pending, stats.dead, stats.delivered) == (0, 1, 4)
    assert "writes that cannot be read became dead letters: 1, the first of them number 3" in caplog.text
    # It cannot even be moved to the dead letters, so that the next outbox finds it once more.
    _, stats = await delivered(path)
    assert (stats.pending, stats.dead) == (0, 1)


# ---- the terminal ------------------------------------------------------------------------------


async def test_what_stands_in_the_file_never_drives_a_terminal(path, cli):
    text = f"'{ESCAPES}'"
    execute(
        filled(path),
        f"UPDATE pending SET kind = {text}, ids = '[\"{ESCAPES[-1]}\"]', error = {text} || ': ' || {text}",
        f"INSERT INTO dead SELECT seq, put_at, kind, ids, checksum, request, attempts, {text}, {text},"
        f" {text}, {text} FROM pending WHERE seq < 3",
        "UPDATE dead SET put_at = 1e300, kind = x'ff1b5b324a', ids = x'1b', attempts = x'9b', type = x'1b'"
        " WHERE seq = 2",
    )
    for command in (["list"], ["list", "--pending"], ["status"], ["retry", "1"], ["drop", "1"]):
        status, out, err = await asyncio.to_thread(cli, "outbox", command[0], path, *command[1:])
        assert status in {0, 2}
        assert (out + err).isascii()
        assert all(character.isprintable() or character == "\n" for character in out + err)


async def test_a_file_name_never_drives_a_terminal(tmp_path, cli):
    path = tmp_path / f"a{ESCAPES}b"
    path.write_bytes(b"no database" * 100)
    _, _, err = await asyncio.to_thread(cli, "outbox", "status", path)
    assert "it is not a database" in err
    assert all(character.isprintable() for character in err.rstrip("\n"))
    assert "\\x1b[2J" in err
