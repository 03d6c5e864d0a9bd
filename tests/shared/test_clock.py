"""What can be known of a server's clock from messages that take a while."""

import random

import pytest

from profilekit.shared.clock import ServerClock


def test_of_a_clock_that_never_told_the_time_nothing_is_known():
    clock = ServerClock()
    assert not clock.is_known
    assert clock.uncertainty == float("inf")
    assert clock.told(10.0, 10.1, 500.0) == 0.0
    assert clock.is_known


def test_one_answer_bounds_it_by_how_long_it_took():
    clock = ServerClock()
    clock.told(10.0, 10.4, 500.2)
    assert clock.uncertainty == pytest.approx(0.4)
    # It showed 500.2 some time between 10.0 and 10.4.
    assert clock.surely_after(500.2) == pytest.approx(10.4)
    assert clock.surely_before(500.2) == pytest.approx(10.0)
    assert clock.latest(10.4) == pytest.approx(500.6)


def test_a_quick_answer_is_better_than_a_slow_one_before_and_after():
    clock = ServerClock()
    clock.told(10.0, 10.4, 500.2)
    clock.told(10.5, 10.502, 500.701)
    clock.told(10.6, 11.0, 500.9)
    assert clock.uncertainty == pytest.approx(0.002, abs=0.001)
    assert clock.surely_before(500.701) == pytest.approx(10.5, abs=0.001)


def test_what_is_known_gets_less_certain_as_clocks_drift():
    clock = ServerClock()
    clock.told(10.0, 10.002, 500.001)
    clock.told(1010.0, 1012.0, 1501.0)
    assert 0.1 < clock.uncertainty < 1.0


@pytest.mark.parametrize("step", [-3600.0, -0.5, 0.5, 3600.0])
def test_a_clock_that_was_set_is_learned_anew_and_said_to_be(step):
    clock = ServerClock()
    clock.told(10.0, 10.002, 500.001)
    jump = clock.told(11.0, 11.01, 501.005 + step)
    assert jump == pytest.approx(abs(step), abs=0.02)
    assert clock.uncertainty == pytest.approx(0.01)
    assert clock.latest(11.01) == pytest.approx(501.015 + step)


@pytest.mark.parametrize("seed", range(20))
def test_the_true_time_is_always_within_the_bounds(seed):
    draw = random.Random(seed)
    clock, ahead, ours, drift = ServerClock(), draw.uniform(-1e6, 1e9), 0.0, draw.uniform(-1e-4, 1e-4)
    for _ in range(200):
        ours += draw.expovariate(1.0)
        there, back = draw.expovariate(100.0), draw.expovariate(100.0)

        def server(at):
            return at * (1 + drift) + ahead

        jump = clock.told(ours, ours + there + back, server(ours + there))
        assert jump == 0.0
        ours += there + back
        now = server(ours)
        assert clock.surely_before(now) <= ours + 1e-6
        assert clock.surely_after(now) >= ours - 1e-6
        assert clock.latest(ours) >= now - 1e-6
