"""Answers that are looked over, and kept as the vendor wrote them."""

import re
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profilekit import amplitude, userflux
from profilekit.bulk.verbatim import encoded, verbatim

# All but the specification's own example, of which no member has the type that the same document names.
SAMPLES = [
    path
    for path in sorted((Path(__file__).parent.parent / "samples").glob("*/*.json"))
    if path.stem != "spec_example"
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def through(kind, body):
    """Return what a job writes of an answer."""
    return encoded(msgspec.json.decode(body, type=verbatim(kind)))


def built(kind, body):
    """Return the same by way of Python's own types."""
    return msgspec.json.encode(msgspec.json.decode(body, type=kind))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name + path.stem)
def test_what_comes_out_of_an_answer_is_what_building_it_gives(path):
    kind = {"amplitude": amplitude.Profile, "userflux": userflux.Profile}[path.parent.name]
    answer = orjson.loads(path.read_bytes())
    body = orjson.dumps(answer.get("userData") or {} if kind is amplitude.Profile else answer)
    assert through(kind, body) == built(kind, body)


@given(
    st.dictionaries(st.sampled_from(["userId", "properties", "segments", "lastUpdatedAt", "else"]), JSON)
    | st.fixed_dictionaries({"properties": st.dictionaries(st.text(), JSON), "computedProperties": JSON}),
    st.booleans(),
)
def test_whatever_comes_is_taken_and_refused_as_when_it_is_built(answer, indented):
    body = orjson.dumps(answer, option=orjson.OPT_INDENT_2 if indented else 0)
    try:
        expected = built(userflux.Profile, body)
    except msgspec.ValidationError:
        with pytest.raises(msgspec.ValidationError):
            through(userflux.Profile, body)
    else:
        found = through(userflux.Profile, body)
        assert orjson.loads(found) == orjson.loads(expected)
        assert not {*b"\r\n"} & {*found}


def test_numbers_keep_each_digit():
    body = b'{"properties":{"price":1.10,"id":340282366920938463463374607431768211456}}'
    assert through(userflux.Profile, body) == body


def test_an_object_over_several_lines_becomes_one_line():
    body = b'{"properties": {"a": 1,\r\n "b": "two\\nlines"}}'
    assert through(userflux.Profile, body) == b'{"properties":{"a": 1,   "b": "two\\nlines"}}'


def test_null_is_left_out():
    assert through(amplitude.Profile, b'{"amp_props": null, "user_id": "u"}') == b'{"user_id":"u"}'


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (b"[1]", "Expected an object or null as 'properties'"),
        (b'"text"', "Expected an object or null as 'properties'"),
        (b"1", "Expected an object or null as 'properties'"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (b'{"a": "\x01"}', "invalid character"),
        (b'{"a": "\\ud800"}', "truncated|surrogate"),
        (b'{"a": 01}', "invalid number"),
        (b'{"a": NaN}', "invalid character"),
        (b'{"a": 1,}', "trailing comma"),
        (b'{"a": 1', "truncated"),
    ],
)
def test_what_is_no_json_object_is_refused(properties, reason):
    with pytest.raises(msgspec.DecodeError, match=reason):
        through(userflux.Profile, b'{"properties": %b}' % properties)


class Nested(msgspec.Struct, omit_defaults=True, kw_only=True, tag="nested", rename="kebab"):
    """One of a caller's own vendor: a tag, a field that is required, one with a factory."""

    first_name: str
    some_tags: list[str] = []
    more_things: dict[str, Any] | None = None
    last: int = 0


def test_a_struct_keeps_its_names_order_tag_and_defaults():
    body = b'{"type":"nested","first-name":"a","some-tags":["x"],"more-things":{"a":[1,2]},"last":3}'
    assert through(Nested, body) == body == built(Nested, body)
    short = b'{"type":"nested","first-name":"a"}'
    assert through(Nested, short) == short
    with pytest.raises(msgspec.ValidationError, match=re.escape("missing required field `first-name`")):
        through(Nested, b'{"type":"nested"}')


class Whole(msgspec.Struct):
    """One that writes its defaults, too, and has a tag of its own with a dot in it."""

    class Inner(msgspec.Struct, tag=True):
        things: dict[str, Any] | None = None

    name: str = "nobody"
    things: dict[str, Any] | None = None


@pytest.mark.parametrize(
    "body", [b"{}", b'{"things":null}', b'{"name":"a","things":{}}', b'{"things":{"a":1}}']
)
def test_what_is_not_there_is_null_where_defaults_are_written(body):
    assert through(Whole, body) == built(Whole, body)
    assert orjson.loads(through(Whole, body))


def test_a_tag_that_is_the_name_of_a_class_within_another_stays():
    body = b'{"type":"Whole.Inner","things":{"a":1}}'
    assert through(Whole.Inner, body) == built(Whole.Inner, body) == body


class Checked(msgspec.Struct):
    """One that looks at what it is given."""

    things: dict[str, Any] | None = None

    def __post_init__(self):
        if self.things and "bad" in self.things:
            raise ValueError("bad things")


class Required(msgspec.Struct):
    things: dict[str, Any]


class Positional(msgspec.Struct, array_like=True):
    things: dict[str, Any] | None = None


@pytest.mark.parametrize(
    "kind", [Checked, Required, Positional, amplitude.Recommendation, dict[str, Any], type(None)]
)
def test_there_is_none_where_nothing_is_gained_or_a_look_of_its_own_would_be_lost(kind):
    assert verbatim(kind) is None
