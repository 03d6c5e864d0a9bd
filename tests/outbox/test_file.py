"""The file: what is refused and what is said, who may have it, and a disk that is full."""

import asyncio
import errno
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from outboxes import ACCOUNT, accepting, opened, write, written
from stub import Stub

from profilekit import ProfileClient
from profilekit.errors import OutboxError
from profilekit.outbox import Outbox, file, letters
from profilekit.outbox.lock import Lock
from profilekit.outbox.rows import Ends, Put, Totals
from profilekit.outbox.store import Store
from profilekit.outbox.writes import Writes

SUPPORT = Path(__file__).parent.parent / "support"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "writes.db"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(file, "_PATIENCE", 0.01)


def program(text, *arguments):
    return subprocess.run(
        [sys.executable, "-c", text, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=SUPPORT,
    )


def execute(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def put(user, text=b"{}"):
    return Put(time.time(), "userflux.UpdateProfile", (user,), text)


async def refused(path):
    """Return what is said when the file is to be opened."""
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        with pytest.raises(OutboxError) as caught:
            await Outbox(path, client).__aenter__()
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---- the store ---------------------------------------------------------------------------------


def test_what_is_committed_is_there_the_next_time(path):
    store = Store(path)
    news = store.commit([put("a"), put("b"), put("c"), put("d")], Ends())
    assert [(row.seq, row.ids) for row in news.rows] == [(1, ("a",)), (2, ("b",)), (3, ("c",)), (4, ("d",))]
    letter = letters_of(2)
    news = store.commit(
        [put("e")],
        Ends([1], [letter], {2: (1, "x"), 3: (2, "ThrottledError: busy: wait")}, Totals(1, 4, 0, 2)),
    )
    assert [row.seq for row in news.rows] == [5]
    assert news.dead == 1
    store.close()
    store = Store(path)
    news = store.look()
    assert [row.seq for row in news.rows] == [3, 4, 5]
    assert (news.dead, store.totals()) == (1, Totals(1, 4, 0, 2))
    assert store.unknown_class(Writes(())) == "userflux.UpdateProfile"
    assert store.requests([3, 9]) == {3: ("userflux.UpdateProfile", b"{}")}
    assert store.look().rows == []
    store.close()
    (third, *_), (second,) = letters.pending(path), letters.dead(path)
    assert (third.attempts, third.type, third.message) == (2, "ThrottledError", "busy: wait")
    assert (second.seq, second.type, second.status, second.attempts) == (2, "InvalidRequestError", 400, 2)


def letters_of(seq):
    from profilekit.errors import InvalidRequestError
    from profilekit.outbox.rows import dead_letter

    error = InvalidRequestError("no", status=400)
    error.attempts = 1
    return dead_letter(seq, "userflux", error, 1.0)


def test_what_cannot_be_committed_for_long_takes_no_more_room():
    ends = Ends()
    for _ in range(1000):
        ends.add(Ends(tried={1: (2, "x: y"), 2: (1, "x: y")}, totals=Totals(requests=1)))
    assert ends == Ends(tried={1: (2000, "x: y"), 2: (1000, "x: y")}, totals=Totals(requests=1000))


def test_what_fails_is_not_there_at_all(path, impatient):
    store = Store(path)
    store.commit([put("a")], Ends())
    with pytest.raises(OutboxError):
        store.commit([put("b"), Put(None, "userflux.UpdateProfile", ("c",), b"")], Ends([1]))
    assert store.look().rows == []
    assert [row.seq for row in store.commit([put("d")], Ends()).rows] == [2]
    store.close()
    assert [letter.ids for letter in letters.pending(path)] == [("a",), ("d",)]


def test_numbers_are_never_used_again(path):
    store = Store(path)
    store.commit([put("a"), put("b")], Ends())
    store.commit([], Ends([1, 2]))
    store.close()
    store = Store(path)
    assert [row.seq for row in store.commit([put("c")], Ends()).rows] == [3]
    store.close()


# ---- files that cannot be used -----------------------------------------------------------------


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
@pytest.mark.parametrize("is_there", [False, True])
async def test_the_file_is_made_for_its_owner_alone(path, mask, is_there, request):
    request.addfinalizer(partial(os.umask, os.umask(mask)))
    if is_there:
        path.touch(0o644)
    async with opened(path, accepting()) as outbox:
        await outbox.put(write("u", n=1))
        for name in path.parent.iterdir():
            assert stat.S_IMODE(name.stat().st_mode) == 0o600, name


async def test_files_that_are_no_outbox(path, tmp_path):
    path.write_text("name,plan\n" * 200)
    assert "it is not a database" in await refused(path)
    assert path.read_text() == "name,plan\n" * 200

    other = tmp_path / "other.db"
    execute(other, "CREATE TABLE t (a)")
    before = other.read_bytes()
    assert "a database, but not an outbox" in await refused(other)
    assert other.read_bytes() == before

    newer = tmp_path / "newer.db"
    Store(newer).close()
    execute(newer, "PRAGMA user_version = 2")
    assert "of version 2" in await refused(newer)

    damaged = tmp_path / "damaged.db"
    store = Store(damaged)
    store.commit([put("u", b"x" * 100_000)], Ends())
    store.close()
    with damaged.open("r+b") as opened_file:
        opened_file.seek(4096)
        opened_file.write(b"\xff" * 20_000)
    assert "it is damaged" in await refused(damaged)


async def test_places_where_there_can_be_none(tmp_path):
    assert "No such file or directory" in await refused(tmp_path / "nowhere" / "writes.db")
    assert "Is a directory" in await refused(tmp_path)


async def test_an_empty_file_becomes_one(path):
    path.touch()
    async with opened(path, accepting()) as outbox:
        await outbox.put(write("u", n=1))


async def test_writes_of_a_class_that_it_does_not_know(path):
    store = Store(path)
    store.commit([Put(0.0, "acme.Move", ("u",), b"{}")], Ends())
    store.close()
    assert "holds writes of the class acme.Move" in await refused(path)


async def test_a_write_that_can_no_longer_be_read_becomes_a_dead_letter(path):
    store = Store(path)
    store.commit([put("u", b'{"userId": 5}'), put("u", b'{"userId":"u","properties":{"n":1}}')], Ends())
    store.commit([put("u", b"{}"), put("v", b'{"userId":"v"}')], Ends())
    store.close()
    execute(path, "DELETE FROM pending WHERE seq = 4")
    stub = accepting()
    async with opened(path, stub) as outbox:
        await outbox.drained()
        assert (outbox.stats().dead, outbox.stats().delivered) == (2, 1)
    assert written(stub) == [("u", {"n": 1})]
    assert {letter.seq for letter in letters.dead(path)} == {1, 3}


UNPRIVILEGED = """
import asyncio, os, sys, tempfile
from outboxes import ACCOUNT, accepting, opened, write
from pathlib import Path
from profilekit.errors import OutboxError

async def main(folder):
    path = folder / "writes.db"
    async with opened(path, accepting()) as outbox:
        await outbox.put(write("u", n=1))
    path.chmod(0o400)
    for _ in range(2):
        try:
            async with opened(path, accepting()):
                print("opened")
        except OutboxError as error:
            print(error)
        path.chmod(0o600)
        (folder / "writes.db.lock").unlink(missing_ok=True)
        folder.chmod(0o500)
    folder.chmod(0o700)

if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))
"""


def test_a_file_or_a_folder_that_may_only_be_read():
    done = program(UNPRIVILEGED)
    assert done.returncode == 0, done.stderr
    of_file, of_folder = done.stdout.splitlines()
    assert "writes.db cannot be used as an outbox: Permission denied" in of_file
    assert "writes.db.lock cannot be made (Permission denied)" in of_folder


# ---- one owner ---------------------------------------------------------------------------------


async def test_a_second_outbox_is_refused(path, tmp_path):
    async with opened(path, accepting()) as outbox:
        assert "is in use by another outbox" in await refused(path)
        (tmp_path / "link").symlink_to(tmp_path)
        async with ProfileClient(ACCOUNT, transport=accepting()) as client:
            with pytest.raises(OutboxError, match="is in use"):
                await Outbox(tmp_path / "link" / "writes.db", client).__aenter__()
        await outbox.put(write("u", n=1))
        await outbox.drained()
    async with opened(path, accepting()):
        pass


OWNER = """
import os, sys
from pathlib import Path
from profilekit.outbox.lock import Lock
try:
    lock = Lock(Path(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error, flush=True)
    sys.exit(1)
if "fork" in sys.argv and os.fork() == 0:
    print("held", flush=True)
    sys.stdin.read()
    os._exit(0)
if "fork" not in sys.argv:
    print("held", flush=True)
    sys.stdin.read()
"""


def owner(path, *options):
    command = [sys.executable, "-P", "-c", OWNER, str(path), *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def test_an_outbox_of_another_process_is_refused_until_that_is_dead(path):
    with owner(path) as other:
        assert other.stdout.readline() == "held\n"
        assert "is in use by another outbox" in await refused(path)
        other.kill()
        other.wait()
        async with opened(path, accepting()):
            with owner(path) as third:
                assert third.stdout.readline().startswith("OutboxError")


def test_a_forked_child_does_not_hold_what_its_parent_held(path):
    with owner(path, "fork") as other:
        assert other.stdout.readline() == "held\n"
        other.wait()
        Lock(path).release()


# ---- trouble that passes -----------------------------------------------------------------------


async def test_while_somebody_else_writes_to_it_put_fails_and_works_again(path, impatient, caplog):
    stub = accepting()
    async with opened(path, stub) as outbox:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OutboxError, match="another program holds it locked"):
            await outbox.put(write("u", n=1))
        assert "locked" in outbox.stats().held
        assert outbox.stats().pending == 0
        other.execute("COMMIT")
        other.close()
        await outbox.put(write("u", n=2))
        await outbox.drained()
        assert outbox.stats().held is None
    assert written(stub) == [("u", {"n": 2})]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_one_that_is_locked_cannot_be_opened(path, impatient):
    async with opened(path, accepting()):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    assert "another program holds it locked" in await refused(path)
    other.execute("ROLLBACK")
    other.close()


FULL_DISK = """
import asyncio, json, resource, sys
from outboxes import NO_CONTENT, body, opened, write
from pathlib import Path
from stub import Stub
from profilekit.errors import OutboxError

LIMIT = resource.getrlimit(resource.RLIMIT_FSIZE)

def allow(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, LIMIT[1]))

class Held(Stub):
    go = asyncio.Event()
    async def exchange(self, request, deadline, sent):
        await self.go.wait()
        return await super().exchange(request, deadline, sent)

async def main(path):
    stub = Held(lambda request: NO_CONTENT)
    kept, errors = [], []
    async with opened(path, stub, merge=False) as outbox:
        for number in range(20):
            await outbox.put(write(f"u{number}", n=number))
            kept.append(number)
        allow(path.with_name("writes.db-wal").stat().st_size)
        for number in range(20, 200):
            try:
                await outbox.put(write(f"u{number}", n=number, filler="x" * 1000))
                kept.append(number)
            except OutboxError as error:
                errors.append(str(error))
        held = outbox.stats().held
        stub.go.set()
        while len(stub.requests) < len(kept):
            await asyncio.sleep(0.001)
        pending = outbox.stats().pending
        allow(LIMIT[0])
        await outbox.put(write("after", n=1000))
        await outbox.drained()
        stats = outbox.stats()
    sent = [body(request)["properties"]["n"] for request in stub.requests]
    print(json.dumps({"kept": kept, "errors": errors, "pending": pending, "held": held, "sent": sent,
                      "delivered": stats.delivered, "now_held": stats.held}))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_loses_nothing_repeats_nothing_and_passes(path):
    done = program(FULL_DISK, path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result["kept"]) + len(result["errors"]) == 200
    assert result["errors"]
    assert all(str(path) in error and "the disk" in error for error in result["errors"])
    assert "xxx" not in done.stderr
    assert "the disk" in result["held"]
    # All of them are with the vendor, and none of that could be noted.
    assert result["pending"] == len(result["kept"])
    assert sorted(result["sent"]) == [*result["kept"], 1000]
    assert (result["delivered"], result["now_held"]) == (len(result["kept"]) + 1, None)
    assert list(letters.pending(path)) == []


def test_what_the_system_says_is_passed_on(path):
    with pytest.raises(OutboxError, match="writes.db cannot be used as an outbox: No space left"):
        with file.explained(path):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OutboxError, match="writes.db: Cannot operate on a closed"), file.explained(path):
        connection = sqlite3.connect(":memory:")
        connection.close()
        connection.execute("SELECT 1")


# ---- others at the file ------------------------------------------------------------------------


async def test_dead_letters_that_others_retry_are_delivered_after_what_was_put_before(path):
    from profilekit.errors import InvalidRequestError

    refuses = True
    stub = Stub(lambda request: InvalidRequestError("no", status=400) if refuses else accepted())
    async with opened(path, stub) as outbox:
        for number in range(3):
            await outbox.put(write("u", n=number))
            await outbox.drained()
        assert outbox.stats().dead == 3
        refuses = False
        await asyncio.to_thread(letters.drop, path, [2])
        assert await asyncio.to_thread(letters.retry, path, [1, 3]) == 2
        await outbox.put(write("u", n=10))
        while outbox.stats().delivered < 3:
            await asyncio.sleep(0.001)
        await outbox.drained()
        assert outbox.stats().dead == 0
    assert [properties["n"] for _, properties in written(stub)][3:] in ([10], [0, 2, 10])


def accepted():
    from outboxes import NO_CONTENT

    return NO_CONTENT
