"""The outbox over a transport that answers from a function: what is delivered, and in which order."""

import asyncio
import logging
import random
import sqlite3
from collections import Counter, defaultdict

import pytest
from outboxes import ACCOUNT, KEY, NO_CONTENT, accepting, body, opened, write, written
from stub import Stub, response

from profilekit import Breaker, ProfileClient, amplitude, userflux
from profilekit.errors import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    OutboxError,
    OutboxFullError,
    RequestTimeoutError,
)
from profilekit.outbox import BackOff, Outbox, feed, gate, letters, store
from profilekit.outbox.delivery import fate


class Holding(Stub):
    """Answers nothing until it is let go."""

    def __init__(self, answer=None):
        super().__init__(answer or (lambda request: NO_CONTENT))
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()

    async def exchange(self, request, deadline, sent):
        self.arrived.set()
        await self.go.wait()
        return await super().exchange(request, deadline, sent)


def rows(path, table="pending"):
    with sqlite3.connect(path) as connection:
        found = connection.execute(f"SELECT seq, request FROM {table} ORDER BY seq").fetchall()
    connection.close()
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "writes.db"


# ---- delivery ----------------------------------------------------------------------------------


async def test_what_is_put_is_on_the_disk_and_then_delivered(path):
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(write("u", plan="pro"))
        ((_, text),) = rows(path)
        assert b'"plan":"pro"' in text
        await stub.arrived.wait()
        stats = outbox.stats()
        assert (stats.pending, stats.in_flight, stats.delivered, stats.held) == (1, 1, 0, None)
        assert 0 <= stats.oldest < 60
        stub.go.set()
        await outbox.drained()
        stats = outbox.stats()
        assert (stats.pending, stats.in_flight, stats.oldest) == (0, 0, None)
        assert (stats.delivered, stats.requests, stats.saved, stats.repeated) == (1, 1, 0, 0)
        assert rows(path) == []
    assert written(stub) == [("u", {"plan": "pro"})]


async def test_callers_at_once(path):
    stub = accepting()
    async with opened(path, stub, merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n % 7}", n=n)) for n in range(500)))
        await outbox.drained()
        assert outbox.stats().delivered == 500
    of_user = defaultdict(list)
    for user, properties in written(stub):
        of_user[user].append(properties["n"])
    assert {user: list(range(int(user[1:]), 500, 7)) for user in of_user} == of_user


@pytest.mark.parametrize("merge", [True, False])
async def test_each_user_in_order_whatever_fails(path, merge):
    draw, arrived, taken = random.Random(3), defaultdict(list), defaultdict(dict)

    def answer(request):
        user, properties = body(request)["userId"], body(request)["properties"]
        arrived[user].append(properties["last"])
        failing = [response(503), ConnectionFailedError("x"), RequestTimeoutError("x")]
        if draw.random() < 0.4:
            return draw.choice(failing)
        taken[user] |= properties
        return NO_CONTENT

    async with opened(path, Stub(answer), merge=merge) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n % 5}", last=n, **{f"w{n}": n})) for n in range(200)))
        await outbox.drained()
        stats = outbox.stats()
    assert stats.repeated > 0
    assert stats.delivered == 200
    assert stats.requests == sum(map(len, arrived.values()))
    assert stats.saved == (200 - stats.requests + stats.repeated)
    for number, user in enumerate(sorted(taken)):
        assert arrived[user] == sorted(arrived[user])
        assert {f"w{n}" for n in range(number, 200, 5)} <= taken[user].keys()


async def test_nobody_waits_for_another_user(path):
    def answer(request):
        return response(503) if body(request)["userId"] == "bad" else NO_CONTENT

    async with opened(path, Stub(answer), merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write("bad", n=n)) for n in range(20)))
        await asyncio.gather(*(outbox.put(write(f"good-{n}", n=n)) for n in range(50)))
        while outbox.stats().pending > 20:
            await asyncio.sleep(0.001)
        assert outbox.stats().delivered == 50
        (first, *others) = letters.pending(path)
        assert (first.ids, first.kind) == (("bad",), "userflux.UpdateProfile")
        assert not any(other.attempts for other in others)


async def test_those_that_share_an_id_wait_for_each_other(path):
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(userflux.UpdateProfile(anonymous_id="a", properties={"n": 1}))
        await outbox.put(userflux.UpdateProfile("u", anonymous_id="a", properties={"n": 2}))
        await outbox.put(userflux.UpdateProfile("u", properties={"n": 3}))
        stub.go.set()
        await outbox.drained()
    assert [body(request)["properties"]["n"] for request in stub.requests] == [1, 2, 3]


async def test_what_waits_for_a_user_goes_as_one(path):
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(write("u", a=0, n=0))
        await stub.arrived.wait()
        await asyncio.gather(*(outbox.put(write("u", a=n, **{f"w{n}": n})) for n in range(1, 11)))
        stub.go.set()
        await outbox.drained()
        stats = outbox.stats()
    assert (stats.delivered, stats.requests, stats.saved) == (11, 2, 9)
    assert written(stub)[1] == ("u", {"a": 10, **{f"w{n}": n for n in range(1, 11)}})


async def test_without_merging_each_goes_alone(path):
    stub = Holding()
    async with opened(path, stub, merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write("u", n=n)) for n in range(10)))
        stub.go.set()
        await outbox.drained()
        assert outbox.stats().saved == 0
    assert [properties["n"] for _, properties in written(stub)] == list(range(10))


async def test_of_those_that_went_as_one_only_the_bad_one_dies(path):
    def answer(request):
        return response(400, b"bad value") if "bad" in body(request)["properties"] else NO_CONTENT

    stub = Holding(answer)
    async with opened(path, stub) as outbox:
        await outbox.put(write("u", first=True))
        await stub.arrived.wait()
        await asyncio.gather(*(outbox.put(write("u", **{"bad" if n == 2 else f"w{n}": n})) for n in range(5)))
        stub.go.set()
        await outbox.drained()
        stats = outbox.stats()
    assert (stats.delivered, stats.dead, stats.pending) == (5, 1, 0)
    assert [set(properties) for _, properties in written(stub)] == [
        {"first"},
        {"w0", "w1", "bad", "w3", "w4"},
        {"w0"},
        {"w1"},
        {"bad"},
        {"w3"},
        {"w4"},
    ]


async def test_what_the_vendor_refuses_for_good_is_kept_as_a_dead_letter(path):
    answers = {"a": response(400, b"no such field"), "b": response(404), "c": response(302)}
    async with opened(path, Stub(lambda request: answers.get(body(request)["userId"], NO_CONTENT))) as outbox:
        for user in "abcd":
            await outbox.put(write(user, n=user))
        await outbox.drained()
        stats = outbox.stats()
        assert (stats.delivered, stats.dead) == (1, 3)
    found = {letter.ids[0]: letter for letter in letters.dead(path)}
    assert [(found[user].type, found[user].status) for user in "abc"] == [
        ("InvalidRequestError", 400),
        ("ProfileNotFoundError", 404),
        ("StatusError", 302),
    ]
    assert "no such field" in found["a"].message
    assert found["a"].attempts == 1
    assert len(rows(path, "dead")) == 3


# ---- held back ---------------------------------------------------------------------------------


@pytest.fixture
def quick_gate(monkeypatch):
    monkeypatch.setattr(gate, "_FIRST", 0.01)
    monkeypatch.setattr(gate, "_LONGEST", 0.02)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_account_holds_everything_back(path, status, caplog, quick_gate):
    refuses, caplog_at = True, caplog.at_level(logging.INFO, "profilekit")
    stub = Stub(lambda request: response(status, KEY.encode()) if refuses else NO_CONTENT)
    with caplog_at:
        async with opened(path, stub) as outbox:
            await asyncio.gather(*(outbox.put(write(f"u{n}", n=n)) for n in range(300)))
            while outbox.stats().held is None or outbox.stats().in_flight:
                await asyncio.sleep(0.001)
            seen = len(stub.requests)
            while len(stub.requests) < seen + 5:
                await asyncio.sleep(0.001)
            # Those under way when it began, and then one at a time.
            assert stub.most_under_way <= ACCOUNT.max_in_flight
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert str(status) in outbox.stats().held
            assert outbox.stats().pending == 300
            refuses = False
            await outbox.drained()
            stats = outbox.stats()
    assert (stats.delivered, stats.dead, stats.held) == (300, 0, None)
    assert ["nothing is delivered" in record.getMessage() for record in caplog.records] == [True, False]
    assert KEY not in caplog.text
    assert "u1" not in caplog.text


async def test_an_account_without_a_key_holds_what_is_left_from_before(path, caplog):
    async with opened(path, Holding()) as outbox:
        await outbox.put(write("u", n=1))
        await outbox.close(grace=0)
    other = amplitude.Account(secret_key="k")
    async with ProfileClient(other, transport=accepting()) as client, Outbox(path, client) as outbox:
        while outbox.stats().held is None:
            await asyncio.sleep(0.001)
        assert "no account for userflux" in outbox.stats().held
        assert outbox.stats().requests == 0
    assert len(rows(path)) == 1


async def test_a_write_that_is_refused_as_if_by_the_account_does_not_hold_the_others_for_ever(
    path, quick_gate
):
    def answer(request):
        return response(403) if body(request)["userId"] == "bad" else NO_CONTENT

    async with opened(path, Stub(answer), back_off=BackOff(first=0.05, longest=0.1)) as outbox:
        await outbox.put(write("bad", n=0))
        await asyncio.gather(*(outbox.put(write(f"u{n}", n=n)) for n in range(200)))
        while outbox.stats().pending > 1:
            await asyncio.sleep(0.001)
        assert outbox.stats().delivered == 200


async def test_while_the_breaker_is_open_nothing_storms_and_nothing_is_counted(path):
    is_down = True
    stub = Stub(lambda request: response(503) if is_down else NO_CONTENT)
    breaker = Breaker(failures=5, probe_every=0.05)
    async with opened(path, stub, breaker=breaker, merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n}", n=n)) for n in range(300)))
        while outbox.stats().held is None:
            await asyncio.sleep(0.001)
        assert "failed many times in a row" in outbox.stats().held
        seen = len(stub.requests)
        while len(stub.requests) < seen + 3:
            await asyncio.sleep(0.001)
        # One under way when it opened for each connection, and then a probe each.
        assert len(stub.requests) <= ACCOUNT.max_in_flight + 5
        assert outbox._client.stats().fenced <= ACCOUNT.max_in_flight + 10
        attempts = Counter(letter.attempts for letter in letters.pending(path))
        assert sum(count * number for count, number in attempts.items()) <= len(stub.requests)
        is_down = False
        await outbox.drained()
        stats = outbox.stats()
        assert (stats.delivered, stats.held) == (300, None)
        assert stats.requests == len(stub.requests)


def test_what_errors_mean():
    from profilekit import errors

    fates = {"again": [], "held": [], "dead": []}
    for kind in (errors.ConfigError, errors.ClientClosedError):
        fates[fate(kind("x"))].append(kind.__name__)
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, errors.RequestError):
            error = kind("x")
            error.attempts = 1
            fates[fate(error)].append(name)
    again = {
        "ThrottledError",
        "TransportError",
        "RequestTimeoutError",
        "VendorUnavailableError",
        "WrongUserError",
    }
    assert again <= {*fates["again"]}
    assert {*fates["held"]} == {"ConfigError", "AuthError", "AccessDeniedError"}
    assert {"InvalidRequestError", "ProfileNotFoundError", "StatusError", "DecodeError"} <= {*fates["dead"]}
    assert fate(errors.VendorUnavailableError("x")) == "fenced"


def test_the_back_off_doubles_with_full_jitter_and_heeds_the_vendor():
    back_off, draw, error = BackOff(), random.Random(1), ConnectionFailedError("x")
    longest = [max(back_off.delay(n, error, draw) for _ in range(2000)) for n in (1, 2, 3, 8, 9, 5000)]
    assert longest == pytest.approx([0.5, 1, 2, 60, 60, 60], rel=0.02)
    error.retry_after = 90.0
    assert back_off.delay(1, error, draw) == 90.0
    error.retry_after = 999_999_999.0
    assert back_off.delay(1, error, draw) == 3600.0
    for wrong in ({"first": 0}, {"longest": -1}):
        with pytest.raises(ConfigError, match="BackOff"):
            BackOff(**wrong)


# ---- room --------------------------------------------------------------------------------------


async def test_when_it_is_full_put_waits_in_order(path):
    stub = Holding()
    async with opened(path, stub, max_pending=3, merge=False) as outbox:
        tasks = [asyncio.create_task(outbox.put(write("u", n=n))) for n in range(10)]
        await asyncio.gather(*tasks[:3])
        await stub.arrived.wait()
        assert not any(task.done() for task in tasks[3:])
        assert outbox.stats().pending == 3
        tasks[4].cancel()
        stub.go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await outbox.drained()
    assert [properties["n"] for _, properties in written(stub)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]


async def test_when_it_is_full_put_raises_if_asked_to(path):
    stub = Holding()
    async with opened(path, stub, max_pending=2, when_full="raise") as outbox:
        await outbox.put(write("u", n=1))
        await outbox.put(write("u", n=2))
        with pytest.raises(OutboxFullError, match="holds 2 writes"):
            await outbox.put(write("u", n=3))
        stub.go.set()
        await outbox.drained()
        await outbox.put(write("u", n=4))
        await outbox.drained()
        assert outbox.stats().delivered == 3


async def test_a_place_that_came_too_late_is_given_on(path):
    stub = Holding()
    async with opened(path, stub, max_pending=1) as outbox:
        await outbox.put(write("u", n=1))
        waiting = [asyncio.create_task(outbox.put(write("u", n=n))) for n in (2, 3)]
        await stub.arrived.wait()
        outbox._room.give(1)
        # It has its place, and does not know it yet.
        waiting[0].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert waiting[0].cancelled()
        assert waiting[1].exception() is None
        outbox._room.fill(1)
        stub.go.set()
        await outbox.drained()
    assert sorted(properties["n"] for _, properties in written(stub)) == [1, 3]


# ---- cancellation, and the end -----------------------------------------------------------------


async def test_a_put_that_is_cancelled_before_its_commit_begins_is_withdrawn(path):
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(write("first", n=0))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        begun = asyncio.create_task(outbox.put(write("begun", n=1)))
        while outbox._works.journal._puts or outbox.stats().pending < 2:
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(outbox.put(write("waiting", n=2)))
        while outbox.stats().pending < 3:
            await asyncio.sleep(0.001)
        for task in (begun, waiting):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        other.execute("ROLLBACK")
        other.close()
        await outbox.put(write("last", n=3))
        assert outbox.stats().pending == 3
        stub.go.set()
        await outbox.drained()
    assert sorted(user for user, _ in written(stub)) == ["begun", "first", "last"]


async def test_the_next_one_delivers_what_is_left(path):
    async with opened(path, Holding(), merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n % 3}", n=n)) for n in range(100)))
        await outbox.close(grace=0)
    assert len(rows(path)) == 100
    stub = accepting()
    async with opened(path, stub, merge=False) as outbox:
        assert outbox.stats().pending == 100
        await outbox.drained()
        assert outbox.stats().delivered == 100
    of_user = defaultdict(list)
    for user, properties in written(stub):
        of_user[user].append(properties["n"])
    assert all(numbers == sorted(numbers) for numbers in of_user.values())
    async with opened(path, stub) as outbox:
        assert outbox.stats().delivered == 100


async def test_close_lets_what_is_under_way_finish(path):
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(write("u", n=1))
        await stub.arrived.wait()
        closing = asyncio.create_task(outbox.close())
        await asyncio.sleep(0)
        with pytest.raises(OutboxError, match="the outbox was closed"):
            await outbox.put(write("u", n=2))
        stub.go.set()
        await closing
        assert outbox.stats().delivered == 1
    assert rows(path) == []


async def test_close_commits_those_being_put_and_turns_away_those_that_wait(path):
    async with opened(path, Holding(), max_pending=5) as outbox:
        tasks = [asyncio.create_task(outbox.put(write("u", n=n))) for n in range(8)]
        drained = asyncio.create_task(outbox.drained())
        await asyncio.sleep(0)
        await outbox.close(grace=0)
        done = await asyncio.gather(*tasks, drained, return_exceptions=True)
    assert done[:5] == [None] * 5
    assert {type(error) for error in done[5:]} == {OutboxError}
    assert len(rows(path)) == 5


async def test_a_cancelled_close_hurries_and_still_closes(path):
    stub = Holding()
    async with ProfileClient(ACCOUNT, transport=stub) as client:
        outbox = await Outbox(path, client).__aenter__()
        await outbox.put(write("u", n=1))
        await stub.arrived.wait()
        closing = asyncio.create_task(outbox.close(grace=1000))
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        async with Outbox(path, client) as again:
            assert again.stats().pending == 1
            stub.go.set()
            await again.drained()
        await outbox.close()


async def test_a_cancelled_start_lets_go_of_the_file(path):
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        for steps in range(4):
            outbox = Outbox(path, client)
            starting = asyncio.create_task(outbox.__aenter__())
            for _ in range(steps):
                await asyncio.sleep(0)
            starting.cancel()
            await asyncio.wait({starting})
            await outbox.close()
            while True:
                try:
                    async with Outbox(path, client):
                        break
                except OutboxError:
                    await asyncio.sleep(0)


async def test_when_the_client_closes_first_nobody_waits_for_ever(path):
    stub = Holding()
    async with opened(path, stub, max_pending=2) as outbox:
        await outbox.put(write("u", n=1))
        await outbox.put(write("v", n=2))
        third = asyncio.create_task(outbox.put(write("u", n=3)))
        drained = asyncio.create_task(outbox.drained())
        await asyncio.sleep(0)
        await outbox._client.close(grace=0)
        stub.go.set()
        # The first two may come back yet, so that there is room for the third, which cannot be sent.
        await asyncio.gather(third, return_exceptions=True)
        with pytest.raises(OutboxError, match="waits for the next: ClientClosedError"):
            await drained
        for call in (outbox.put(write("u", n=4)), outbox.drained()):
            with pytest.raises(OutboxError, match="ClientClosedError"):
                await call


async def test_when_a_task_is_cancelled_nobody_waits_for_ever(path):
    async with opened(path, Holding()) as outbox:
        await outbox.put(write("u", n=1))
        outbox._works._delivering.cancel()
        with pytest.raises(OutboxError, match="its task was cancelled"):
            await outbox.drained()


async def test_when_the_thread_stumbles_nobody_waits_for_ever(path):
    async with opened(path, Holding()) as outbox:
        await outbox.put(write("u", n=1))
        drained = asyncio.create_task(outbox.drained())
        store_, outbox._works.journal._store = outbox._works.journal._store, object()
        with pytest.raises(OutboxError, match="AttributeError"):
            await outbox.put(write("u", n=2))
        outbox._works.journal._store = store_
        await asyncio.sleep(0)
        for call in (outbox.put(write("u", n=3)), drained):
            with pytest.raises(OutboxError, match="the outbox has stopped.*AttributeError"):
                await call
    assert len(rows(path)) == 1


async def test_while_the_file_cannot_be_read_nothing_is_sent_and_then_it_goes_on(path, monkeypatch):
    monkeypatch.setattr(feed, "_AGAIN", 0.01)
    stub = Holding()
    async with opened(path, stub) as outbox:
        await outbox.put(write("u", n=1))
        await stub.arrived.wait()
        await outbox.put(write("u", n=2))
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("ALTER TABLE pending RENAME TO elsewhere")
        stub.go.set()
        while outbox.stats().held is None:
            await asyncio.sleep(0.001)
        assert "no such table" in outbox.stats().held
        assert (outbox.stats().pending, len(stub.requests)) == (2, 1)
        connection.execute("ALTER TABLE elsewhere RENAME TO pending")
        connection.close()
        await outbox.drained()
        assert outbox.stats().held is None
    assert [properties["n"] for _, properties in written(stub)] == [1, 2]


# ---- wrong use ---------------------------------------------------------------------------------


async def test_what_cannot_be_kept_is_refused_before_anything_is_written(path):
    async with opened(path, accepting()) as outbox:
        for wrong in (amplitude.GetProfile("u"), userflux.GetProfile("u"), "u", None, userflux.UpdateProfile):
            with pytest.raises(ConfigError):
                await outbox.put(wrong)
        assert outbox.stats().pending == 0
    account = amplitude.Account(secret_key="k")
    async with ProfileClient(account, transport=accepting()) as client, Outbox(path, client) as outbox:
        with pytest.raises(ConfigError, match="no account for userflux"):
            await outbox.put(write("u", n=1))
    assert rows(path) == []


async def test_it_is_opened_once_and_before_it_is_used(path):
    async with ProfileClient(ACCOUNT, transport=accepting()) as client:
        outbox = Outbox(path, client)
        for call in (outbox.put(write("u", n=1)), outbox.drained()):
            with pytest.raises(OutboxError, match="open the outbox first"):
                await call
        with pytest.raises(OutboxError, match="open the outbox first"):
            outbox.stats()
        async with outbox:
            assert repr(outbox) == "<Outbox writes.db (0 pending)>"
            with pytest.raises(OutboxError, match="can be opened once"):
                await outbox.__aenter__()
        with pytest.raises(OutboxError, match="was closed"):
            await outbox.__aenter__()
        never = Outbox(path, client)
        await never.close()
    with pytest.raises(ClientClosedError):
        await Outbox(path, client).__aenter__()


def test_arguments_that_cannot_be_used(path):
    client = ProfileClient(ACCOUNT)
    for wrong in (
        {"max_pending": 0},
        {"max_pending": True},
        {"when_full": "drop"},
        {"back_off": 3},
        {"requests": (amplitude.GetProfile,)},
    ):
        with pytest.raises(ConfigError, match="Outbox: "):
            Outbox(path, client, **wrong)
    for arguments in ((None, client), ("a\0b", client), (path, None)):
        with pytest.raises(ConfigError, match="Outbox: "):
            Outbox(*arguments)


async def test_no_key_is_in_the_file(path):
    async with opened(path, Stub(lambda request: response(400, f"Bearer {KEY}".encode()))) as outbox:
        await outbox.put(write("u", n=1))
        await outbox.drained()
        assert outbox.stats().dead == 1
        for file in path.parent.iterdir():
            assert KEY.encode() not in file.read_bytes()


# ---- sizes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge", [True, False])
async def test_large_writes_are_read_in_parts(path, merge, monkeypatch):
    monkeypatch.setattr(store, "_MOST_BYTES", 5_000)
    large = "x" * 2_000
    async with opened(path, Holding(), merge=merge) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n % 3}", **{f"w{n}": large})) for n in range(30)))
        await outbox.put(write("huge", n="y" * 50_000))
        await outbox.close(grace=0)
    stub = accepting()
    async with opened(path, stub, merge=merge) as outbox:
        await outbox.drained()
        assert outbox.stats().delivered == 31
    assert max(len(properties) for _, properties in written(stub)) <= 3
    for user in range(3):
        names = [name for who, properties in written(stub) if who == f"u{user}" for name in properties]
        assert names == [f"w{n}" for n in range(user, 30, 3)]


async def test_thousands_behind_one_that_fails(path):
    is_down = True

    def answer(request):
        return response(503) if is_down and body(request)["userId"] == "u" else NO_CONTENT

    stub = Stub(answer)
    async with opened(path, stub) as outbox:
        await asyncio.gather(*(outbox.put(write("u", last=n, **{f"w{n}": n})) for n in range(5_000)))
        await outbox.put(write("v", n=1))
        while outbox.stats().pending > 5_000:
            await asyncio.sleep(0.001)
        is_down = False
        await outbox.drained()
        stats = outbox.stats()
    assert (stats.delivered, stats.requests - stats.repeated) == (5_001, stats.delivered - stats.saved)
    last = [properties["last"] for user, properties in written(stub) if user == "u"]
    assert last == sorted(last)
