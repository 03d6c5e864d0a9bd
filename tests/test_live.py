"""Live stats: what is counted, what is written, where to, and what is made of whatever is read."""

import asyncio
import json
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from clock import virtual
from lives import NOW, account, at_work, job, sent_of, shown, snapshot
from stub import Stub, answering, response

from profilekit import ProfileClient, Rate, amplitude, bulk, errors, userflux
from profilekit.live import Live
from profilekit.live.board import Board
from profilekit.live.latencies import KEPT, Latencies, quantile
from profilekit.live.minute import Minute
from profilekit.live.outlets import File, Socket, outlet_for
from profilekit.live.snapshot import FORMAT, MOST_BYTES, decode, encode
from profilekit.live.sources import Seen, Source, news_of
from profilekit.live.together import current, minute_of, speed_of, totals
from profilekit.outbox import Outbox

CANARY = "canary-user"
GET = amplitude.GetProfile(CANARY)


def reading(**fields):
    return amplitude.Account(secret_key="canary-key", **{"rate": Rate(10_000, per=1), **fields})


# ---- latencies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("part", [0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_within_2_5_percent_of_the_attempt_that_it_stands_for(seed, part):
    draw = random.Random(seed)
    took = sorted(draw.lognormvariate(-3, 2) for _ in range(draw.randrange(1, 3_000)))
    latencies = Latencies(0.0)
    for seconds in took:
        latencies.add(seconds)
    exact = took[max(0, -(-len(took) * part // 1).__int__() - 1)]
    assert quantile(latencies.counts(1.0), part) == pytest.approx(exact, rel=0.025)


@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 0.04, 1.0, 59.9, 3600.0])
def test_the_bound_holds_from_a_hundredth_of_a_millisecond_to_an_hour(seconds):
    latencies = Latencies(0.0)
    latencies.add(seconds)
    assert quantile(latencies.counts(0.0), 0.99) == pytest.approx(seconds, rel=0.025)


def test_what_took_no_time_counts_too():
    latencies = Latencies(0.0)
    latencies.add(0.0)
    assert quantile(latencies.counts(0.0), 0.5) == pytest.approx(0.0, abs=1e-6)


def test_there_is_no_quantile_of_nothing():
    assert quantile({}, 0.99) is None


def test_attempts_are_forgotten_after_half_a_minute_and_a_sixth_at_most():
    latencies = Latencies(100.0)
    latencies.add(1.0)
    held = {now: sum(latencies.counts(now).values()) for now in range(101, 140)}
    assert all(held[now] == 1 for now in held if now < 100 + KEPT)
    assert all(held[now] == 0 for now in held if now >= 100 + KEPT * 7 / 6)


def test_after_a_long_time_without_a_look_nothing_old_is_left():
    latencies = Latencies(0.0)
    latencies.add(1.0)
    assert latencies.counts(86_400.0) == {}
    latencies.add(2.0)
    assert sum(latencies.counts(86_400.0).values()) == 1


# ---- the last minute -------------------------------------------------------------------------------


def test_a_count_is_shown_second_by_second():
    minute = Minute(10.2, 100)
    assert minute.look(10.9, 105) == []
    assert minute.look(11.1, 107) == [7]
    assert minute.look(12.0, 107) == [7, 0]
    assert minute.look(13.5, 110) == [7, 0, 3]


def test_a_late_look_spreads_what_came_over_the_seconds_that_passed():
    minute = Minute(0.0, 0)
    assert minute.look(4.0, 10) == [3, 3, 2, 2]


def test_sixty_seconds_are_kept():
    minute = Minute(0.0, 0)
    shown_last = [minute.look(float(second), second * second) for second in range(1, 101)][-1]
    assert shown_last == [2 * second - 1 for second in range(41, 101)]
    assert minute.look(100_100.0, 10_000 + 200_000) == [2] * 60


# ---- the board -------------------------------------------------------------------------------------


def looked_at(main, stub, **settings):
    """Run something with a client on a virtual clock, and return what its board shows at the end of it."""

    async def inside():
        board = Board(now=asyncio.get_running_loop().time)
        async with ProfileClient(reading(**settings), transport=stub, observer=board) as client:
            await main(client, board)
            return board.snapshot()

    return virtual(inside())


def test_the_board_shows_the_quota_its_use_and_how_long_attempts_take():
    async def main(client, board):
        sending = asyncio.create_task(client.send_all([GET] * 300, window=300))
        for _ in range(30):
            await asyncio.sleep(1)
            board.snapshot()
        assert not sending.done()
        sending.cancel()
        await asyncio.wait([sending])

    (total,) = totals([looked_at(main, Stub(latency=0.2), rate=Rate(50, per=10))])
    assert total.limit == pytest.approx(5.0)
    assert speed_of(total.minute) == pytest.approx(5.0, rel=0.05)
    assert sum(total.minute) == pytest.approx(150, abs=6)
    assert (total.p50, total.p99) == (pytest.approx(0.2, rel=0.025), pytest.approx(0.2, rel=0.025))


def test_the_board_shows_who_waits_and_who_is_under_way():
    async def main(client, board):
        sending = [asyncio.create_task(client.send(GET, timeout=999)) for _ in range(7)]
        await asyncio.sleep(1)
        (seen,) = board.snapshot().accounts
        assert (seen.queue, seen.in_flight, seen.sent) == (4, 3, 3)
        for task in sending:
            task.cancel()
        await asyncio.wait(sending)

    shown_last = looked_at(main, Stub(latency=50), rate=Rate(10_000, per=1), max_in_flight=3)
    assert (shown_last.accounts[0].queue, shown_last.accounts[0].in_flight) == (0, 0)
    # What was cancelled says nothing of the vendor.
    assert shown_last.latencies == {}


def test_what_fails_is_shown_by_its_kind():
    async def main(client, board):
        await client.send_all([GET] * 5, window=1)

    stub = Stub(answering(response(404), response(404), response(400), response(200, b'{"userData": {}}')))
    (seen,) = looked_at(main, stub).accounts
    assert seen.failed == {"ProfileNotFoundError": 2, "InvalidRequestError": 1}
    assert (seen.sent, seen.succeeded, seen.breaker, seen.transport) == (5, 2, "closed", "Stub")


async def test_clients_outboxes_and_jobs_of_a_process_are_shown_together(tmp_path, profilekit_simulator):
    board = Board()
    (tmp_path / "users.txt").write_text("".join(f"{CANARY}-{number}\n" for number in range(5)))
    todo = bulk.Job(source=tmp_path / "users.txt", request=amplitude.GetProfile, output=tmp_path / "o.jsonl")
    async with ProfileClient(*profilekit_simulator.accounts(), observer=board) as client:
        async with Outbox(tmp_path / "writes.db", client) as outbox_:
            await outbox_.put(userflux.UpdateProfile(CANARY, properties={"plan": CANARY}))
            await outbox_.drained()
            await bulk.run(todo, client)
            during = board.snapshot()
    after = board.snapshot()
    assert [each.vendor for each in during.accounts] == ["amplitude", "userflux"]
    assert [(each.name, each.delivered, each.is_open) for each in during.outboxes] == [("writes.db", 1, True)]
    assert [(each.name, each.done, each.total, each.is_open) for each in during.jobs] == [
        ("amplitude.GetProfile", 5, 5, False)
    ]
    assert (during.has_ended, after.has_ended) == (False, True)
    assert not any(each.is_open for each in (*after.accounts, *after.outboxes, *after.jobs))
    assert sent_of(after) == 6
    assert b"canary" not in encode(after)
    assert decode(encode(after)) == after


def test_what_was_closed_makes_room_for_the_next_of_its_name():
    async def main(client, board):
        for _ in range(3):
            async with ProfileClient(reading(), transport=Stub(), observer=board) as another:
                await another.send(GET)
        await client.send(GET)

    seen = looked_at(main, Stub())
    assert [(each.is_open, each.sent) for each in seen.accounts] == [(True, 1), (False, 1)]


def test_what_an_earlier_run_has_done_is_no_speed():
    from profilekit.observer import Opened

    times = iter([0.0, 1.0, 2.0, 3.0])
    progress = bulk.Progress()
    board = Board(now=lambda: next(times))
    board.changed(Opened("job", "a.Job", lambda: progress))
    progress.begin(5_000, 10_000)
    board.snapshot()
    progress.done += 20
    board.snapshot()
    (seen,) = board.snapshot().jobs
    assert (seen.done, seen.total, seen.minute) == (5_020, 10_000, [20, 0])


# ---- several together ------------------------------------------------------------------------------


def test_quotas_of_their_own_add_up_and_a_shared_one_is_there_once():
    own = [snapshot(accounts=[account(share=share)]) for share in (1.0, 0.5)]
    shared = [snapshot(accounts=[account(quota="shared")]) for _ in range(3)]
    assert totals(own)[0].limit == pytest.approx(15.0)
    assert totals(shared)[0].limit == pytest.approx(10.0)
    assert totals([*own, *shared])[0].limit == pytest.approx(25.0)


def test_the_p99_of_several_processes_is_that_of_all_their_attempts():
    fast, slow = {-64: 980}, {0: 20}
    both = [snapshot(latencies={"amplitude": counts}) for counts in (fast, slow)]
    assert totals(both)[0].p99 == quantile({**fast, **slow}, 0.99) == pytest.approx(1.0, rel=0.03)
    assert totals(both[:1])[0].p99 < 0.1


def test_minutes_are_added_up_from_their_ends():
    assert minute_of([[1, 2, 3], [10], []]) == [1, 2, 13]
    assert minute_of([]) == []


def test_of_a_process_that_is_gone_only_what_it_has_done_counts():
    gone = current(snapshot(has_ended=True), NOW)
    (total,) = totals([gone, snapshot()])
    assert (total.sum("sent"), total.now("queue"), total.limit, sum(total.minute)) == (24_690, 64, 10.0, 480)


# ---- what is read ----------------------------------------------------------------------------------


def test_old_stats_are_called_old():
    assert news_of(snapshot(), NOW + 4) is None
    assert news_of(snapshot(), NOW - 60) is None
    assert news_of(snapshot(), NOW + 12) == "no news for 12 s: the process has ended or hangs"
    assert news_of(snapshot(has_ended=True), NOW + 12_000) is None


def test_a_process_that_runs_no_more_is_known_at_once():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = snapshot(host=socket.gethostname(), pid=ended.pid)
    assert news_of(here, NOW) == f"process {ended.pid} has ended, and did not say so"
    assert news_of(snapshot(pid=ended.pid), NOW) is None
    assert news_of(snapshot(host=socket.gethostname(), pid=os.getpid()), NOW) is None


WRONG = {
    "empty": b"",
    "binary": bytes(range(256)),
    "half": encode(snapshot())[:200],
    "foreign": b'{"hello": 1}',
    "a list": b"[1]",
    "no UTF-8": b'{"profilekit": 1, "host": "\xff"}',
    "deep": b"[" * 100_000,
    "huge": b" " * (MOST_BYTES + 1),
    "huge number": encode(snapshot()).replace(b"12345", b"9" * 400),
    "negative": encode(snapshot()).replace(b"12345", b"-1"),
    "no quota": encode(snapshot()).replace(b'"requests":600', b'"requests":0'),
    "endless name": encode(snapshot(host="x" * 201)),
    "endless minute": encode(snapshot(accounts=[account(minute=[1] * 61)])),
    "beyond time": encode(snapshot(latencies={"amplitude": {10**6: 1}})),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_stats_is_called_that(kind, tmp_path):
    path = tmp_path / "a.stats"
    path.write_bytes(WRONG[kind])
    seen = Source(str(path)).read()
    assert (seen.snapshot, seen.problem) == (None, "it holds no stats of profilekit")


def test_stats_of_another_version_are_called_that(tmp_path):
    path = tmp_path / "a.stats"
    path.write_bytes(b'{"profilekit": %d, "of": "another shape"}' % (FORMAT + 1))
    assert "another version of profilekit, probably a newer one" in Source(str(path)).read().problem


def test_what_cannot_be_read_says_why(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        assert Source(str(tmp_path / name)).read().problem in {
            "it is no file and no socket",
            "Is a directory",
        }
    assert Source(str(tmp_path / "none")).read().problem == "not there yet: waiting"

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "theirs").write_bytes(encode(snapshot()))
    monkeypatch.setattr(os, "open", refuse)
    assert "belongs to somebody else" in Source(str(tmp_path / "theirs")).read().problem


def test_what_was_seen_last_is_kept_when_the_path_goes_bad(tmp_path):
    path = tmp_path / "a.stats"
    path.write_bytes(encode(snapshot()))
    source = Source(str(path))
    assert source.read().snapshot == snapshot()
    path.write_bytes(b"{")
    assert source.read().snapshot == snapshot()
    assert source.read().problem == "it holds no stats of profilekit"


def serving(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    return server


def test_a_socket_of_somebody_else_is_called_that(tmp_path):
    with serving(tmp_path / "a.sock") as server:
        source = Source(str(tmp_path / "a.sock"))
        assert source.read().problem == "nothing yet: waiting"
        assert source.is_silent
        theirs, _ = server.accept()
        with theirs:
            theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            assert source.read().problem == "it holds no stats of profilekit"
        source.close()


def test_a_socket_that_stays_silent_is_said_to_hang(tmp_path):
    now = NOW
    with serving(tmp_path / "a.sock"):
        source = Source(str(tmp_path / "a.sock"), now=lambda: now)
        source.read()
        now += 12
        assert source.read() == Seen(
            str(tmp_path / "a.sock"), None, "no news for 12 s: the process has ended or hangs"
        )
        source.close()


def test_a_socket_that_never_ends_its_line_is_left(tmp_path):
    with serving(tmp_path / "a.sock") as server:
        source = Source(str(tmp_path / "a.sock"))
        source.read()
        theirs, _ = server.accept()

        def flood():
            with theirs:
                try:
                    while True:
                        theirs.sendall(b"x" * 65_536)
                except OSError:
                    return

        flooding = threading.Thread(target=flood)
        flooding.start()
        while (problem := source.read().problem) == "nothing yet: waiting":
            pass
        assert problem == "it serves no stats of profilekit"
        source.close()
        flooding.join()


# ---- where it is written ---------------------------------------------------------------------------


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_its_owners_and_never_half_written(tmp_path):
    path = tmp_path / "a.stats"
    file = File(path)
    lines = [encode(snapshot(jobs=[job(name=letter * 200)] * 100)) for letter in "ab"]
    file.write(lines[0])
    done = threading.Event()

    def write():
        for _ in range(300):
            for line in lines:
                file.write(line)
        done.set()

    writing = threading.Thread(target=write)
    writing.start()
    source = Source(str(path))
    while not done.is_set():
        assert encode(source.read().snapshot) in lines
    writing.join()
    assert mode_of(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.stats"]


def test_an_outlet_is_a_file_or_a_socket_by_its_name(tmp_path):
    assert isinstance(outlet_for(tmp_path / "a.jsonl"), File)
    assert isinstance(outlet_for(str(tmp_path / "a.sock")), Socket)
    assert isinstance(outlet_for(f"unix:{tmp_path}/a"), Socket)


@pytest.mark.parametrize("bad", ["", None, 7, "a\0b", "/nowhere/a.stats", "x" * 200 + ".sock"])
def test_a_path_that_cannot_be_used_is_refused(bad):
    with pytest.raises(errors.ConfigError, match="Live: "):
        Live(bad)


def test_nothing_of_the_users_own_is_replaced(tmp_path):
    (tmp_path / "users.csv").write_text("user_id\n1\n")
    (tmp_path / "users.sock").write_text("user_id\n1\n")
    os.mkfifo(tmp_path / "pipe")
    for name in ("users.csv", "users.sock", "pipe", "."):
        with pytest.raises(errors.ConfigError, match="name another"):
            Live(tmp_path / name)
    assert (tmp_path / "users.csv").read_text() == (tmp_path / "users.sock").read_text() == "user_id\n1\n"


def test_what_a_killed_process_was_about_to_write_goes_with_the_next(tmp_path):
    (tmp_path / ".a[1].stats.abc.part").write_bytes(b"half")
    (tmp_path / ".a1.stats.abc.part").write_bytes(b"of another")
    File(tmp_path / "a[1].stats").write(b"{}")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a1.stats.abc.part", "a[1].stats"]


@pytest.mark.parametrize(
    "left", [b"", encode(snapshot()), encode(snapshot(has_ended=True)), b'{"profilekit":9}']
)
def test_what_an_earlier_process_has_left_is_replaced(left, tmp_path):
    path = tmp_path / "a.stats"
    path.write_bytes(left)
    outlet_for(path).write(encode(snapshot(pid=7)))
    assert decode(path.read_bytes()).pid == 7


def test_a_socket_is_its_owners_and_shows_each_line_to_all(tmp_path):
    path = tmp_path / "a.sock"
    outlet = outlet_for(path)
    outlet.write(encode(snapshot(pid=1)))
    assert mode_of(path) == 0o600
    sources = [Source(str(path)) for _ in range(3)]
    for number in range(2, 5):
        assert all(source.read() for source in sources)
        outlet.write(encode(snapshot(pid=number, written=NOW * 1.5)))
        assert [source.read().snapshot.pid for source in sources] == [number] * 3
    outlet.close()
    assert [source.read().problem for source in sources] == ["nobody serves it: the process has ended"] * 3
    assert not path.exists()


def test_whoever_does_not_read_is_hung_up_on_and_the_others_see_all(tmp_path):
    path = tmp_path / "a.sock"
    outlet = outlet_for(path)
    line = encode(snapshot(jobs=[job(name="x" * 200)] * 100, written=NOW * 1.5))
    outlet.write(line)
    reader = Source(str(path))
    reader.read()
    with socket.socket(socket.AF_UNIX) as sleeper:
        sleeper.connect(str(path))
        for _ in range(200):
            outlet.write(line)
            assert reader.read().problem is None
        kept = b"".join(iter(lambda: sleeper.recv(65_536), b""))
    assert len(line) < len(kept) < 200 * len(line)
    outlet.close()
    reader.close()


def test_a_socket_that_somebody_serves_is_refused_and_one_of_the_dead_replaced(tmp_path):
    path = tmp_path / "a.sock"
    with serving(path):
        with pytest.raises(errors.ConfigError, match="another process serves it"):
            Live(path)
    assert path.exists()
    outlet = outlet_for(path)
    outlet.write(b"line\n")
    with pytest.raises(errors.ConfigError, match="another process serves it"):
        Live(path)
    outlet.close()


def test_a_socket_at_which_too_many_knock_is_served_all_the_same(tmp_path):
    path = tmp_path / "a.sock"
    with ExitStack() as knocking:
        knocking.enter_context(serving(path)).listen(0)
        with pytest.raises(BlockingIOError):
            while True:
                caller = knocking.enter_context(socket.socket(socket.AF_UNIX))
                caller.setblocking(False)
                caller.connect(str(path))
        with pytest.raises(errors.ConfigError, match="another process serves it"):
            Live(path)


def test_a_socket_that_somebody_else_has_made_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "a.sock"
    outlet = outlet_for(path)
    with serving(path):
        with pytest.raises(OSError, match="another process serves it"):
            outlet.write(b"line\n")
        outlet.close()
        assert path.exists()


# ---- a service that writes it ----------------------------------------------------------------------


async def until(as_wanted):
    while not as_wanted():
        await asyncio.sleep(0.01)


def live_threads():
    return [thread for thread in threading.enumerate() if thread.name == "profilekit live"]


@pytest.mark.parametrize("name", ["a.stats", pytest.param("a.sock", marks=pytest.mark.slow)])
async def test_a_client_is_shown_as_soon_as_it_is_open_and_until_it_is_closed(name, tmp_path):
    source, live = Source(str(tmp_path / name)), Live(tmp_path / name)
    for sent in (1, 2):
        async with ProfileClient(reading(), transport=Stub(), observer=live) as client:
            await until(lambda: (seen := source.read().snapshot) and not seen.has_ended)
            await client.send_all([GET] * sent)
        await until(lambda: source.read().snapshot.has_ended)
        seen = source.read()
        assert (sent_of(seen.snapshot), seen.problem) == (sent, None)
    await until(lambda: not live_threads())
    source.close()


async def test_a_client_that_stays_open_is_shown_anew_every_second(tmp_path):
    path = tmp_path / "a.stats"
    async with ProfileClient(reading(), transport=Stub(), observer=Live(path)) as client:
        await client.send(GET)
        await until(lambda: path.exists() and decode(path.read_bytes()).accounts[0].minute == [1])


def test_an_event_loop_that_ended_without_a_close_does_not_silence_the_next(tmp_path):
    live = Live(tmp_path / "a.stats")

    async def forgetful():
        client = await ProfileClient(reading(), transport=Stub(), observer=live).__aenter__()
        await client.send(GET)

    async def careful():
        async with ProfileClient(reading(), transport=Stub(), observer=live) as client:
            await client.send_all([GET] * 3)
            path = tmp_path / "a.stats"
            await until(lambda: path.exists() and sent_of(decode(path.read_bytes())) == 4)

    asyncio.run(forgetful())
    asyncio.run(careful())
    live._writer.end(b"")


LEAVING = """
import asyncio, sys
from profilekit import ProfileClient, amplitude
from profilekit.live import Live

async def main(path):
    await ProfileClient(amplitude.Account(secret_key="k"), observer=Live(path)).__aenter__()
    while not path.exists():
        await asyncio.sleep(0.01)

from pathlib import Path
asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_process_that_ends_without_a_close_ends_all_the_same_and_takes_its_socket_away(tmp_path):
    path = tmp_path / "a.sock"
    done = subprocess.run(
        [sys.executable, "-P", "-c", LEAVING, path], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert not path.exists()


@pytest.mark.parametrize("name", ["a.stats", pytest.param("a.sock", marks=pytest.mark.slow)])
async def test_a_folder_that_is_gone_hurts_no_request_and_is_said_once(name, tmp_path, caplog):
    folder = tmp_path / "folder"
    folder.mkdir()
    live = Live(folder / name)
    folder.rmdir()
    for _ in range(3):
        async with ProfileClient(reading(), transport=Stub(), observer=live) as client:
            outcomes = await client.send_all([GET] * 50)
        assert all(outcome.value for outcome in outcomes)
        await until(lambda: not live_threads())
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert said == [f"cannot write live stats to {folder}/{name}: No such file or directory"]


FULL = """
import asyncio, logging, resource, sys
from profilekit import Ok, ProfileClient, amplitude
from profilekit.live import Live
from stub import Stub

logging.basicConfig(format="%(message)s")

async def main(path):
    account = amplitude.Account(secret_key="k")
    async with ProfileClient(account, transport=Stub(), observer=Live(path)) as client:
        outcomes = await client.send_all([amplitude.GetProfile("u")] * 6)
        print(all(isinstance(outcome, Ok) for outcome in outcomes))

# As many bytes as the disk has left.
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
asyncio.run(main(sys.argv[1]))
"""


def test_no_byte_is_left_of_what_a_full_disk_did_not_take(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path / "a.stats"],
        cwd=Path(__file__).parent / "support",
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "True\n"
    assert done.stderr == f"cannot write live stats to {tmp_path}/a.stats: File too large\n"
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_hangs_holds_nobody_up(tmp_path):
    live, released, hanging = Live(tmp_path / "a.stats"), threading.Event(), threading.Event()
    lines = []

    def hang(line):
        hanging.set()
        released.wait()
        lines.append(line)

    live._outlet.write = hang
    async with ProfileClient(reading(), transport=Stub(), observer=live) as client:
        await until(hanging.is_set)
        for _ in range(100):
            live._write(asyncio.get_running_loop(), live._writer)
        assert len(await client.send_all([GET] * 50)) == 50
    assert lines == []
    released.set()
    await until(lambda: not live_threads())
    # The one that hung, the one that waited for it, and the last.
    assert [decode(line).has_ended for line in lines] == [False, False, True]
    assert sent_of(decode(lines[-1])) == 50


async def test_a_trace_and_a_live_view_go_together(tmp_path):
    class Traces:
        def began(self, attempt):
            return {"traceparent": "00-1-2-01"}

        def ended(self, attempt): ...

        def changed(self, event): ...

    stub = Stub()
    async with ProfileClient(
        reading(), transport=stub, observer=[Traces(), Live(tmp_path / "a.stats")]
    ) as client:
        await client.send(GET)
    assert stub.requests[0].headers["traceparent"] == "00-1-2-01"
    await until(lambda: not live_threads())
    assert sent_of(decode((tmp_path / "a.stats").read_bytes())) == 1


@pytest.mark.parametrize("name", ["a.stats", pytest.param("a.sock", marks=pytest.mark.slow)])
def test_a_process_that_is_killed_is_known_to_be_gone_and_the_next_takes_its_place(name, tmp_path):
    path = tmp_path / name
    with at_work(path) as child:
        with pytest.raises(errors.ConfigError, match="each takes"):
            Live(path)
        child.send_signal(signal.SIGKILL)
        child.wait()
        seen = shown(path, lambda seen: seen.problem is not None)
        assert "has ended" in seen.problem
    with at_work(path):
        assert shown(path, lambda seen: seen.snapshot is not None).problem is None
    assert path.exists() == (name == "a.stats")


def test_nothing_of_a_user_is_in_what_a_service_writes(tmp_path):
    with at_work(tmp_path / "a.stats"):
        text = (tmp_path / "a.stats").read_text()
    written = json.loads(text)
    assert "canary" not in text
    assert [account["vendor"] for account in written["accounts"]] == ["amplitude", "userflux"]
    assert sum(sum(counts.values()) for counts in written["latencies"].values()) == sent_of(
        msgspec.convert(written, type(snapshot()), strict=False)
    )
