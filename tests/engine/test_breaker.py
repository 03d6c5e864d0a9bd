"""The breaker and the budget: told what became of attempts, they say whether there may be another."""

import pytest

from profilekit import Breaker, Retry
from profilekit.engine.breaker import Budget, Circuit, shows_failure
from profilekit.errors import (
    AuthError,
    ConfigError,
    ConnectionFailedError,
    DecodeError,
    ProfileNotFoundError,
    RequestTimeoutError,
    ThrottledError,
    VendorUnavailableError,
)


def test_it_opens_after_so_many_failures_in_a_row():
    circuit = Circuit(Breaker(failures=3))
    for _ in range(2):
        circuit.failed(0.0)
    circuit.succeeded()
    for _ in range(2):
        circuit.failed(0.0)
    assert not circuit.is_open
    circuit.failed(0.0)
    assert circuit.is_open


def test_while_open_one_probe_goes_through_each_time():
    circuit = Circuit(Breaker(failures=1, probe_every=5))
    circuit.failed(100.0)
    assert not circuit.admits(104.9)
    assert circuit.probes_in(104.0) == 1.0
    assert [circuit.admits(105.0), circuit.admits(105.0), circuit.admits(109.9)] == [True, False, False]
    # Also while the probe before it hangs.
    assert circuit.admits(110.0)


def test_a_probe_that_fails_leaves_it_open_and_one_that_succeeds_closes_it():
    circuit = Circuit(Breaker(failures=2, probe_every=5))
    circuit.failed(0.0)
    circuit.failed(0.0)
    assert circuit.admits(5.0)
    circuit.failed(6.0)
    assert circuit.is_open
    assert not circuit.admits(9.9)
    assert circuit.admits(10.0)
    circuit.succeeded()
    assert not circuit.is_open
    circuit.failed(11.0)
    assert not circuit.is_open


@pytest.mark.parametrize(
    ("error", "seconds", "counts"),
    [
        (ConnectionFailedError("x"), 0.1, True),
        (VendorUnavailableError("x", status=503), 0.1, True),
        (RequestTimeoutError("x"), 30.0, True),
        (RequestTimeoutError("x"), 0.1, None),
        (ThrottledError("x", status=429), 30.0, False),
        (ProfileNotFoundError("x", status=404), 30.0, False),
        (AuthError("x", status=401), 30.0, False),
        (DecodeError("x"), 30.0, False),
    ],
)
def test_what_says_that_a_vendor_is_down(error, seconds, counts):
    assert shows_failure(error, seconds) is counts


def test_the_budget_is_spent_by_retries_and_earned_by_successes():
    budget = Budget(3)
    assert budget.spend(ConnectionFailedError("x")) == 1.0
    assert budget.spend(RequestTimeoutError("x")) == 2.0
    assert budget.spend(ConnectionFailedError("x")) is None
    assert budget.spend(ThrottledError("x")) == 0.0
    budget.succeeded(2.0)
    assert budget.left == 2.0
    for _ in range(20):
        budget.succeeded(0.0)
    assert budget.left == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: Breaker(failures=0),
        lambda: Breaker(failures=True),
        lambda: Breaker(probe_every=0),
        lambda: Retry(budget=-1),
    ],
)
def test_what_cannot_work_is_refused(make):
    with pytest.raises(ConfigError):
        make()
