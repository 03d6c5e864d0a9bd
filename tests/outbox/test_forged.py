"""Whatever is done to a file, by a seed: only OutboxError comes out, and what can be read is delivered."""

import asyncio
import contextlib
import json
import random
import sqlite3

import pytest
from outboxes import ACCOUNT, accepting, write, written

from profilekit import ProfileClient
from profilekit.errors import OutboxError
from profilekit.outbox import Outbox, letters
from profilekit.outbox.rows import Ends, Put
from profilekit.outbox.store import Store

COLUMNS = ["seq", "put_at", "kind", "ids", "checksum", "request", "attempts", "error"]
VALUES = ["NULL", "'x'", "x'ff00'", "9223372036854775807", "-1", "1e999", "''", "zeroblob(99999)", "'{}'"]


def flipped(draw, data):
    data = bytearray(data)
    for _ in range(draw.choice([1, 1, 3, 30])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def cut(draw, data):
    return data[: draw.randrange(len(data))]


def swapped(draw, data):
    size, data = 4096, bytearray(data)
    first, second = (draw.randrange(len(data) // size) * size for _ in range(2))
    pages = data[first : first + size], data[second : second + size]
    data[second : second + size], data[first : first + size] = pages
    return bytes(data)


def scribbled(draw, data):
    at = draw.randrange(len(data))
    return data[:at] + draw.randbytes(draw.randrange(1, 5_000)) + data[at:]


def forged(draw, path):
    """Put anything into any column."""
    connection = sqlite3.connect(path, isolation_level=None)
    for _ in range(draw.randrange(1, 9)):
        column, value, seq = draw.choice(COLUMNS), draw.choice(VALUES), draw.randrange(1, 60)
        try:
            connection.execute(f"UPDATE pending SET {column} = {value} WHERE seq = {seq}")
        except sqlite3.Error:
            continue
    connection.close()


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {*connection.execute("SELECT seq, put_at, kind, ids, checksum, request FROM pending")}


async def survived(path):
    """Open what is left of a file; return why it was refused, or whom was delivered what could be read."""
    stub = accepting()
    async with ProfileClient(ACCOUNT, transport=stub) as client:
        outbox = Outbox(path, client)
        try:
            await outbox.__aenter__()
        except OutboxError as error:
            return str(error)
        with contextlib.suppress(OutboxError):
            await outbox.put(write("new", n=1))
        while outbox.stats().held is None and outbox.stats().pending:
            await asyncio.sleep(0.001)
        await outbox.close(grace=0)
        assert "the outbox has stopped" not in (outbox.stats().held or "")
    return {user for user, _ in written(stub)}


def source(folder):
    """Return the bytes of a file with small and large writes."""
    path = folder / "source.db"
    store = Store(path)
    for number in range(1, 60):
        text = b'{"userId":"u%d","properties":{"n":"%b"}}' % (number, b"x" * (number * 211 % 7_000))
        store.commit([Put(1.5, "userflux.UpdateProfile", (f"u{number}",), text)], Ends())
    store.commit([], Ends([5, 9, 13]))
    store.close()
    return path.read_bytes()


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 1_500), marks=pytest.mark.slow)])
async def test_whatever_is_done_to_the_bytes_only_outbox_errors_come_out(tmp_path, seeds, cli):
    whole = source(tmp_path)
    for seed in seeds:
        draw = random.Random(seed)
        path = tmp_path / f"{seed}.db"
        path.write_bytes(draw.choice([flipped, cut, swapped, scribbled])(draw, whole))
        for command in (["status"], ["list"], ["list", "--pending"]):
            status, out, err = await asyncio.to_thread(cli, "outbox", command[0], path, *command[1:])
            assert status in {0, 2}, (seed, err)
            assert "Traceback" not in err
            assert (out + err).replace("\n", "").isprintable()
        left = await survived(path)
        assert isinstance(left, set) or str(path) in left, seed


@pytest.mark.parametrize("seeds", [range(30), pytest.param(range(30, 500), marks=pytest.mark.slow)])
async def test_whatever_stands_in_the_rows_the_others_are_delivered(tmp_path, seeds, cli):
    whole = source(tmp_path)
    for seed in seeds:
        draw = random.Random(seed)
        path = tmp_path / f"{seed}.db"
        path.write_bytes(whole)
        before = rows(path)
        forged(draw, path)
        untouched = {json.loads(row[3])[0] for row in before & rows(path)}
        status, *_ = await asyncio.to_thread(cli, "outbox", "list", path, "--pending")
        assert status == 0
        assert untouched <= await survived(path), seed
        assert letters.status(path).pending == 0
