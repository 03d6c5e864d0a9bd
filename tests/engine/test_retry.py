import random

import pytest

from profilekit import Retry
from profilekit.engine.retry import back_off, may_repeat
from profilekit.errors import (
    AuthError,
    ConfigError,
    ConnectionFailedError,
    ThrottledError,
    VendorUnavailableError,
)


class Highest(random.Random):
    def uniform(self, a, b):
        return b


class Lowest(random.Random):
    def uniform(self, a, b):
        return a


def error(kind=VendorUnavailableError, attempts=1, **fields):
    made = kind("it failed")
    made.attempts = attempts
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_the_ceiling_doubles_up_to_the_longest():
    policy = Retry(attempts=10, first=0.5, longest=3.0)
    ceilings = [back_off(error(attempts=attempt), policy, draw=Highest()) for attempt in range(1, 6)]
    assert ceilings == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_any_number_of_attempts_has_a_ceiling():
    assert back_off(error(attempts=5000), Retry(attempts=10_000, longest=3.0), draw=Highest()) == 3.0


def test_the_jitter_is_full():
    assert back_off(error(attempts=3), Retry(), draw=Lowest()) == 0
    draws = [back_off(error(attempts=2), Retry(first=1), draw=random.Random(seed)) for seed in range(200)]
    assert min(draws) < 0.1
    assert max(draws) > 1.9


def test_retry_after_is_the_least():
    assert back_off(error(retry_after=7.0), Retry(), draw=Highest()) == 7.0
    assert back_off(error(retry_after=0.1), Retry(first=0.5), draw=Highest()) == 0.5


def test_a_throttled_request_waits_with_its_lane():
    assert back_off(error(ThrottledError, retry_after=7.0), Retry(), draw=Highest()) == 0


@pytest.mark.parametrize(
    ("failure", "policy"),
    [
        (error(attempts=4), Retry(attempts=4)),
        (error(attempts=1), Retry(attempts=1)),
        (error(AuthError), Retry()),
        (error(retryable=False), Retry()),
    ],
)
def test_gives_up(failure, policy):
    assert back_off(failure, policy, draw=Highest()) is None


@pytest.mark.parametrize(
    ("failure", "is_read", "policy", "verdict"),
    [
        (error(), True, Retry(), True),
        (error(), False, Retry(), False),
        (error(), False, Retry(repeat_writes=True), True),
        (error(ThrottledError), False, Retry(), True),
        (error(ConnectionFailedError), False, Retry(), True),
        (error(ConnectionFailedError, maybe_applied=True), False, Retry(), False),
        (error(ConnectionFailedError, maybe_applied=True), True, Retry(), True),
        (error(AuthError), True, Retry(), False),
        (error(AuthError), False, Retry(repeat_writes=True), False),
    ],
)
def test_only_what_is_safe_is_repeated(failure, is_read, policy, verdict):
    assert may_repeat(failure, is_read=is_read, policy=policy) is verdict


@pytest.mark.parametrize(
    "wrong", [{"attempts": 0}, {"first": 0}, {"longest": -1}, {"attempts": 1.5}, {"first": "1"}]
)
def test_refuses_what_is_no_policy(wrong):
    with pytest.raises(ConfigError, match="Retry: "):
        Retry(**wrong)
