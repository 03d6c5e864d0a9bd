import dataclasses
import datetime as dt
import enum
import uuid

import msgspec
import numpy as np
import pytest

from profilekit import jsontext
from profilekit.errors import ConfigError


class Plan(enum.Enum):
    PRO = "pro"


@dataclasses.dataclass
class Address:
    city: str
    height: float = 1.5


class Visit(msgspec.Struct):
    page: str


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Plan.PRO, "pro"),
        (Address("Oslo"), {"city": "Oslo", "height": 1.5}),
        (Visit("/"), {"page": "/"}),
        (np.int64(7), 7),
        (np.float32(1.5), 1.5),
        (np.bool_(True), True),
        (np.arange(3), [0, 1, 2]),
        (np.arange(6)[::2], [0, 2, 4]),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (np.array(["a", "b"]), ["a", "b"]),
        ((1, 2), [1, 2]),
        ({"deep": [None, {"er": Plan.PRO}]}, {"deep": [None, {"er": "pro"}]}),
        (None, None),
    ],
)
def test_writes_what_programs_hold(value, plain):
    assert jsontext.snapshot({"value": value}) == {"value": plain}


class Renamed(msgspec.Struct, rename="camel", omit_defaults=True):
    zip_code: str
    n: object = None


@dataclasses.dataclass
class Unset:
    city: str = dataclasses.field(init=False)


def test_structs_are_written_as_msgspec_writes_them():
    assert jsontext.snapshot({"a": Renamed("1"), "b": Renamed("2", np.arange(2))}) == {
        "a": {"zipCode": "1"},
        "b": {"zipCode": "2", "n": [0, 1]},
    }


def test_a_dataclass_with_a_field_that_was_never_set():
    assert jsontext.snapshot({"unset": Unset(), "none": None}) == {"unset": {}, "none": None}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "object cannot be written as JSON"),
        ({1, 2}, "set cannot be written"),
        ({1: "x"}, "must be str"),
        (2**64, "64-bit"),
        ("\ud800", "UTF-8"),
        (float("nan"), "NaN"),
        (float("-inf"), "NaN"),
        ([None, {"deep": float("nan")}], "NaN"),
        (np.array([1.0, np.nan]), "NaN"),
        (np.float64("inf"), "NaN"),
        (Address("Oslo", float("nan")), "NaN"),
    ],
)
def test_refuses_what_json_cannot_hold(value, reason):
    with pytest.raises(ConfigError, match=reason):
        jsontext.dumps({"value": value})


def test_nulls_beside_values_of_all_kinds_are_no_nan():
    value = {"none": None, "when": dt.date(2026, 1, 2), "id": uuid.UUID(int=1), "who": Address("Oslo")}
    assert jsontext.snapshot({**value, "visit": Visit("/"), "n": np.arange(2)})["none"] is None


def test_a_circle_is_refused():
    circle = {}
    circle["self"] = circle
    with pytest.raises(ConfigError, match=r"[Rr]ecursion"):
        jsontext.dumps(circle)


def test_a_snapshot_is_free_of_the_original():
    original = {"tags": ["a"]}
    copy = jsontext.snapshot(original)
    original["tags"].append("b")
    assert copy == {"tags": ["a"]}
