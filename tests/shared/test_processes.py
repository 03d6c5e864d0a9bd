"""Real processes, a real Redis, and a judge that only counts arrivals: one quota, whatever happens."""

import signal
from itertools import pairwise

import pytest
from fleet import Fleet
from redises import told

from profilekit import Rate

FOUR = ("p0", "p1", "p2", "p3")
AWAY = {
    "stopped": (
        lambda redis: redis.send_signal(signal.SIGSTOP),
        lambda redis: redis.send_signal(signal.SIGCONT),
    ),
    "killed, and empty when it is back": (lambda redis: redis.kill(), lambda redis: redis.start()),
    "full": (told("CONFIG", "SET", "maxmemory", 1), told("CONFIG", "SET", "maxmemory", 0)),
    "slow": (told("CLIENT", "PAUSE", 2500), lambda redis: None),
}


@pytest.fixture
def fleet(tmp_path, request):
    with Fleet(tmp_path, request.param) as fleet:
        yield fleet


def shared(*rates):
    return pytest.mark.parametrize("fleet", rates, indirect=True, ids=str)


def end_well(fleet, *, losses=0):
    """End every process; each shares the quota in the end, and spoke of a loss once, and of its end."""
    for name in tuple(fleet.sharers):
        said, log = fleet.end(name)
        assert said == {"failed": {}, "quota": "shared"}
        news = ["lost" if "out of reach" in line else "back" for line in log if "shared quota" in line]
        assert news == ["lost", "back"] * losses


@shared(
    Rate(200, 1),
    pytest.param(Rate(600, 3), marks=pytest.mark.slow),
    pytest.param(Rate(2000, 1), marks=pytest.mark.slow),
)
def test_four_processes_use_one_quota_and_use_it_evenly(fleet):
    fleet.add(*FOUR)
    fleet.until_steady()
    seen = fleet.watch(10)
    assert fleet.all.most <= fleet.rate.requests
    assert seen.used >= 0.97
    # Nobody gets less than half of his share over any ten windows.
    assert min(seen.by_process[name] for name in FOUR) >= len(seen.times) / len(FOUR) / 2
    end_well(fleet)


@pytest.mark.slow
@shared(Rate(2000, 1))
def test_processes_that_are_killed_stopped_added_or_end_leave_the_quota_to_the_others(fleet):
    fleet.add(*FOUR)
    fleet.until_steady()
    fleet.kill("p0")
    assert fleet.watch(3).used >= 0.9
    fleet.sharers["p1"].send_signal(signal.SIGSTOP)
    assert fleet.watch(3).used >= 0.9
    fleet.sharers["p1"].send_signal(signal.SIGCONT)
    assert fleet.watch(3).by_process["p1"]
    fleet.add("p4")
    assert fleet.watch(3).by_process["p4"]
    fleet.end("p2")
    seen = fleet.watch(3)
    assert seen.used >= 0.9
    assert set(seen.by_process) <= {"p1", "p2", "p3", "p4"}
    assert fleet.all.most <= fleet.rate.requests


@pytest.mark.slow
@pytest.mark.parametrize("away", AWAY)
@shared(Rate(300, 1))
def test_while_redis_is_away_each_uses_its_share_and_goes_back_by_itself(fleet, away):
    go, come_back = AWAY[away]
    fleet.add(*FOUR)
    fleet.until_steady()
    go(fleet.redis)
    fleet.watch(1)
    assert fleet.watch(1.5).used >= 0.85
    come_back(fleet.redis)
    fleet.watch(3)
    assert fleet.watch(3).used >= 0.9
    assert fleet.all.most <= fleet.rate.requests
    end_well(fleet, losses=1)


@pytest.mark.slow
@shared(Rate(300, 1))
def test_a_refusal_that_one_process_sees_pauses_all(fleet):
    fleet.add(*FOUR)
    fleet.until_steady()
    fleet.ask("/_refuse/2")
    times = fleet.watch(4).times
    longest, began = max((after - before, before) for before, after in pairwise(times))
    # What was on its way arrives; nothing more for two seconds.
    assert longest >= 1.9
    assert began < times[-1]
    assert fleet.all.most <= fleet.rate.requests
    end_well(fleet)
