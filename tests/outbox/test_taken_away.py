"""An outbox whose files are taken away while it is open: nothing is acknowledged that is not found again."""

import asyncio
import contextlib
import itertools
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from outboxes import ACCOUNT, NO_CONTENT, accepting, opened, write, written
from stub import Stub

from profilekit import ProfileClient
from profilekit.errors import OutboxError
from profilekit.outbox import Outbox, letters, openfile
from profilekit.outbox.lock import Lock
from profilekit.outbox.rows import Ends, Put, Totals
from profilekit.outbox.store import Store

SUPPORT = Path(__file__).parent.parent / "support"


class Holding(Stub):
    """Answers nothing until it is let go."""

    def __init__(self):
        super().__init__(lambda request: NO_CONTENT)
        self.go = asyncio.Event()

    async def exchange(self, request, deadline, sent):
        await self.go.wait()
        return await super().exchange(request, deadline, sent)


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "writes.db"


def side(path, end):
    return path.with_name(path.name + end)


def replace(path):
    other = path.with_name("other.db")
    Store(other).close()
    other.replace(path)


def restore(path):
    """Copy an older state of the file over it, as a careless backup does."""
    other = path.with_name("older.db")
    Store(other).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        # With all in the log, the next process would find it whatever the database holds.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with other.open("rb") as source, path.open("r+b") as target:
        target.truncate()
        shutil.copyfileobj(source, target)


def truncate(path, part=0):
    os.truncate(path, path.stat().st_size // 2 if part else 0)


def fill(path):
    with path.open("r+b") as file:
        file.write(b"\xa5" * path.stat().st_size)


def delete_all(path):
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def delete_and_make_again(path):
    delete_all(path)
    Store(path).close()


# Each of them, and whether the next process that opens the path can still find what was put before.
TAKEN = {
    "deleted": (Path.unlink, True),
    "deleted with the others": (delete_all, True),
    "deleted and made again": (delete_and_make_again, False),
    "moved away": (lambda path: path.rename(path.with_name("moved.db")), True),
    "replaced": (replace, False),
    "overwritten": (fill, False),
    "overwritten with another": (restore, False),
    "truncated": (truncate, False),
    "cut in half": (lambda path: truncate(path, 1), False),
    "with its folder deleted": (lambda path: shutil.rmtree(path.parent), False),
    "with its folder moved": (lambda path: path.parent.rename(path.parent.with_name("moved")), False),
    "log truncated": (lambda path: truncate(side(path, "-wal")), False),
    "log cut in half": (lambda path: truncate(side(path, "-wal"), 1), False),
    "log overwritten": (lambda path: fill(side(path, "-wal")), False),
}


async def acknowledged(outbox, users):
    """Put until that fails; return whom what was acknowledged is about, and what was said."""
    done = []
    for user in users:
        try:
            await outbox.put(write(user, n=user))
        except OutboxError as error:
            return done, str(error)
        done.append(user)
    return done, None


def kept(path):
    """Return whom the writes that the next process finds are about."""
    store = Store(path)
    rows = store.look().rows
    store.close()
    return [row.ids[0] for row in rows]


async def held(outbox):
    while outbox.stats().held is None:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("how", TAKEN)
async def test_once_the_file_is_taken_away_nothing_is_acknowledged(path, how, caplog):
    take, is_found = TAKEN[how]
    stub = Holding()
    async with opened(path, stub, merge=False) as outbox:
        before, _ = await acknowledged(outbox, [f"a{n}" for n in range(50)])
        take(path)
        after, said = await acknowledged(outbox, [f"b{n}" for n in range(50)])
        assert after == []
        assert str(path) in said
        assert "close this outbox, and open another one" in said
        assert outbox.stats().held == said
        assert await acknowledged(outbox, ["c"]) == ([], said)
        await outbox.close(grace=0)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert f"closed with {outbox.stats().pending} writes" in caplog.records[1].getMessage()
    found = kept(path) if path.exists() and is_found else []
    assert [user for user in found if user.startswith("a")] == (before if is_found else [])


@pytest.mark.parametrize("how", TAKEN)
async def test_what_was_acknowledged_before_is_still_delivered(path, how):
    take, _ = TAKEN[how]
    stub = Holding()
    async with opened(path, stub, merge=False) as outbox:
        before, _ = await acknowledged(outbox, [f"a{n}" for n in range(50)])
        take(path)
        await held(outbox)
        stub.go.set()
        await outbox.drained()
        assert outbox.stats().delivered == 50
        assert outbox.stats().pending == 0
    assert sorted(user for user, _ in written(stub)) == sorted(before)


@pytest.mark.parametrize("how", [how for how, (_, is_found) in TAKEN.items() if is_found])
async def test_what_was_delivered_meanwhile_is_not_delivered_again(path, how):
    take, _ = TAKEN[how]
    stub = Holding()
    async with opened(path, stub, merge=False) as outbox:
        await acknowledged(outbox, [f"a{n}" for n in range(50)])
        take(path)
        await held(outbox)
        stub.go.set()
        await outbox.drained()
    assert kept(path) == []


@pytest.mark.parametrize("how", ["replaced", "overwritten", "truncated", "log truncated"])
async def test_what_cannot_be_saved_at_the_path_is_saved_next_to_it(path, how):
    take, _ = TAKEN[how]
    async with opened(path, Holding(), merge=False) as outbox:
        before, _ = await acknowledged(outbox, [f"a{n}" for n in range(50)])
        take(path)
        await held(outbox)
        saved = side(path, ".rescued-1")
        assert f"saved in {saved}" in outbox.stats().held
        async with ProfileClient(ACCOUNT, transport=accepting()) as client:
            with pytest.raises(OutboxError, match="in use by another outbox"):
                await Outbox(saved, client).__aenter__()
        await outbox.close(grace=0)
    assert kept(saved) == before


@pytest.mark.parametrize("ends", [["-wal"], ["-shm"], [".lock"], ["-wal", "-shm"], ["-wal", "-shm", ".lock"]])
async def test_a_log_an_index_or_a_lock_that_is_deleted_is_made_again(path, ends, caplog):
    async with opened(path, Holding(), merge=False) as outbox:
        before, _ = await acknowledged(outbox, [f"a{n}" for n in range(50)])
        for end in ends:
            side(path, end).unlink()
        after, said = await acknowledged(outbox, [f"b{n}" for n in range(50)])
        assert (len(after), said, outbox.stats().held) == (50, None, None)
        assert all(side(path, end).exists() for end in ("-wal", "-shm", ".lock"))
        # What the next process would find after a kill.
        copy = shutil.copytree(path.parent, path.parent.with_name("killed")) / path.name
        assert kept(copy) == before + after
        assert await asyncio.to_thread(letters.status, path)
        await outbox.close(grace=0)
    assert kept(path) == before + after


async def test_a_lock_that_another_outbox_takes_when_it_is_deleted(path):
    async with opened(path, Holding(), merge=False) as outbox:
        before, _ = await acknowledged(outbox, ["a", "b"])
        side(path, ".lock").unlink()
        other = Lock(path)
        done, said = await acknowledged(outbox, ["c"])
        assert done == []
        assert "had its .lock deleted" in said
        await outbox.close(grace=0)
    other.release()
    assert [user for user in kept(path) if user != "c"] == before


async def test_a_file_that_may_not_be_used_is_used_again_afterwards(path, monkeypatch, caplog):
    allowed = True
    monkeypatch.setattr(openfile.os, "access", lambda *_: allowed)
    async with opened(path, Holding()) as outbox:
        allowed = False
        path.chmod(0o400)
        assert (await acknowledged(outbox, ["a", "b"]))[0] == []
        assert "restore its permissions" in outbox.stats().held
        allowed = True
        path.chmod(0o600)
        assert await acknowledged(outbox, ["c", "d"]) == (["c", "d"], None)
        assert outbox.stats().held is None
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_folder_that_cannot_be_looked_into(path, monkeypatch):
    stat, hidden = os.stat, False

    def seen(name, **options):
        if hidden and str(name) == str(path):
            raise PermissionError(13, "Permission denied", str(name))
        return stat(name, **options)

    monkeypatch.setattr(os, "stat", seen)
    async with opened(path, Holding()) as outbox:
        hidden = True
        done, said = await acknowledged(outbox, ["a"])
        assert done == []
        assert "Permission denied" in said
        hidden = False
        assert await acknowledged(outbox, ["b"]) == (["b"], None)


async def test_a_symbolic_link_that_leads_elsewhere(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(path.parent)
    async with opened(link / path.name, Holding()) as outbox:
        assert await acknowledged(outbox, ["a"]) == (["a"], None)
        link.unlink()
        link.symlink_to(tmp_path)
        assert (await acknowledged(outbox, ["b"]))[0] == []
        await outbox.close(grace=0)
    assert kept(path) == ["a"]


async def test_a_relative_path_in_a_process_that_changes_its_folder(path, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    async with opened(path.name, Holding()) as outbox:
        monkeypatch.chdir(tmp_path)
        assert await acknowledged(outbox, ["a"]) == (["a"], None)


async def test_those_who_wait_for_room_are_turned_away_and_drained_goes_on(path):
    stub = Holding()
    async with opened(path, stub, max_pending=2) as outbox:
        tasks = [asyncio.create_task(outbox.put(write(f"u{n}", n=n))) for n in range(5)]
        await asyncio.gather(*tasks[:2])
        drained = asyncio.create_task(outbox.drained())
        path.unlink()
        await held(outbox)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in done[2:]] == [OutboxError] * 3
        stub.go.set()
        await drained


# ---- what looks like it and is well ------------------------------------------------------------


@pytest.fixture
def small_log(monkeypatch):
    monkeypatch.setattr(openfile, "_MOST_FRAMES", 20)


async def test_the_log_is_copied_into_the_database_and_begun_again(path, small_log):
    async with opened(path, accepting()) as outbox:
        for number in range(300):
            await outbox.put(write(f"u{number}", filler="x" * 2_000))
        await outbox.drained()
        assert outbox.stats().held is None
        assert side(path, "-wal").stat().st_size < 100 * 4_200
        assert path.stat().st_size > 4_096 * 5


async def test_other_programs_may_write_to_it_and_copy_its_log(path, caplog):
    async with opened(path, Holding(), merge=False) as outbox:
        other = sqlite3.connect(path, isolation_level=None)
        for mode in ("PASSIVE", "FULL", "RESTART", "TRUNCATE"):
            done, said = await acknowledged(outbox, [f"{mode}-{n}" for n in range(5)])
            assert said is None
            other.execute("UPDATE totals SET repeated = repeated")
            other.execute(f"PRAGMA wal_checkpoint({mode})")
        other.execute("VACUUM")
        os.link(path, path.with_name("backup.db"))
        done, said = await acknowledged(outbox, ["a", "b"])
        assert (done, said) == (["a", "b"], None)
        other.close()
        await outbox.close(grace=0)
    assert len(kept(path)) == 22
    assert caplog.records == []


def test_a_commit_that_failed_half_way_leaves_no_doubt_about_the_next(path):
    def put(user, text=b"{}"):
        return Put(0.0, "userflux.UpdateProfile", (user,), text)

    store = Store(path)
    store.commit([put("a")], Ends())
    store._connection.execute("PRAGMA cache_size = 2")
    with pytest.raises(OutboxError):
        # Far more than the cache holds, so that pages of it get into the log.
        store.commit(
            [put(f"b{n}", b"x" * 5_000) for n in range(100)], Ends([1], totals=Totals(delivered=None))
        )
    for number in range(5):
        news = store.commit([put(f"c{number}")], Ends())
        assert (len(news.rows), news.refusal) == (1, None)
    store.close()


# ---- under load --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["truncated", "log truncated", "deleted with the others", "replaced"])
@pytest.mark.parametrize("commits", [3, 17])
async def test_whenever_it_is_taken_away_what_was_acknowledged_is_found_or_saved(path, how, commits):
    """The file goes while a thread commits, at whatever moment of it."""
    take, _ = TAKEN[how]
    stub, done, numbers = Holding(), set(), itertools.count()

    async def caller(outbox):
        with contextlib.suppress(OutboxError):
            for number in numbers:
                await outbox.put(write(f"u{number}", n=number))
                done.add(f"u{number}")

    async with opened(path, stub, merge=False) as outbox:
        callers = [asyncio.create_task(caller(outbox)) for _ in range(16)]
        while len(done) < 16 * commits:
            await asyncio.sleep(0)
        take(path)
        await asyncio.gather(*callers)
        assert outbox.stats().held
        await outbox.close(grace=0)
    saved = side(path, ".rescued-1")
    assert done <= set(kept(saved if saved.exists() else path))
