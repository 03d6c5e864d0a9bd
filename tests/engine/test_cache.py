"""What is kept, for how long, and what drops it."""

import pytest

from profilekit import Cache, amplitude, userflux
from profilekit.engine.cache import Store, ids_of
from profilekit.errors import ConfigError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_an_entry_lives_so_long(clock):
    store = Store(10, clock)
    store.put("key", "value", ("u",), 5.0)
    clock.now = 104.9
    assert store.get("key") == "value"
    clock.now = 105.0
    assert store.get("key") is None
    assert len(store) == 0


def test_the_one_used_longest_ago_goes_first(clock):
    store = Store(2, clock)
    store.put("a", 1, ("u",), 5.0)
    store.put("b", 2, ("v",), 5.0)
    store.get("a")
    store.put("c", 3, ("w",), 5.0)
    assert (store.get("a"), store.get("b"), store.get("c")) == (1, None, 3)


def test_everything_about_a_user_goes_at_once(clock):
    store = Store(10, clock)
    store.put("a", 1, ("u", "device"), 5.0)
    store.put("b", 2, ("u",), 5.0)
    store.put("c", 3, ("v",), 5.0)
    store.put("a", 4, ("u", "device"), 5.0)
    store.forget(("device",))
    assert (store.get("a"), store.get("b")) == (None, 2)
    store.forget(("u", "nobody"))
    assert (store.get("b"), store.get("c")) == (None, 3)


def test_nothing_is_left_of_what_was_dropped(clock):
    store = Store(100, clock)
    for number in range(1000):
        store.put(number, number, (f"u{number}",), 5.0)
    assert len(store) == len(store._about) == 100


def test_whom_a_request_is_about():
    assert ids_of(amplitude.GetProfile("u", device_id="d")) == ("u", "d")
    assert ids_of(userflux.UpdateProfile(anonymous_id="a")) == ("a",)


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"ttl": "60"}, {"max_entries": 0}, {"negative_ttl": -1}])
def test_what_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError):
        Cache(**wrong)
