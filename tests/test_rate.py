import math

import pytest

from profilekit import Rate
from profilekit.errors import ConfigError


@pytest.mark.parametrize("requests", [0, -1, 1.5, True, "600", None])
def test_refuses_what_is_no_count(requests):
    with pytest.raises(ConfigError, match="requests must be an int"):
        Rate(requests, per=60)


@pytest.mark.parametrize("per", [0, -1, math.inf, math.nan, True, "60", None])
def test_refuses_what_is_no_window(per):
    with pytest.raises(ConfigError, match="positive number of seconds"):
        Rate(600, per=per)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/60", Rate(600, 60)),
        (" 600/60s ", Rate(600, 60)),
        ("600/min", Rate(600, 60)),
        ("5000/s", Rate(5000, 1)),
        ("10/0.5", Rate(10, 0.5)),
        ("100/h", Rate(100, 3600)),
    ],
)
def test_parses_what_people_write(text, rate):
    assert Rate.parse(text) == rate
    assert Rate.parse(str(rate)) == rate


@pytest.mark.parametrize("text", ["", "600", "600/", "/60", "a/b", "600/-1", "600/year", "0/60"])
def test_says_how_to_write_a_rate(text):
    with pytest.raises(ConfigError, match="such as 600/60"):
        Rate.parse(text)


def test_per_second():
    assert Rate(600, per=60).per_second == 10
