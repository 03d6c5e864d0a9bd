"""Requests to text and back, and several to one."""

from decimal import Decimal
from typing import Any, ClassVar

import pytest

from profilekit import Endpoint, Request, Vendor, amplitude, userflux
from profilekit.errors import ConfigError
from profilekit.outbox.writes import Writes, merged

WRITES = Writes((userflux.UpdateProfile,))
UPDATE = userflux.UpdateProfile(
    "u",
    anonymous_id="ä/?",
    properties={"a": [1, 1.0, True, None, "x", 2**63], "b": {"c": -1.5e300}},
    external_id="e",
    device_data={},
    location_enrichment=False,
)


def update(user="u", properties=None, **fields):
    return userflux.UpdateProfile(user, properties=properties, **fields)


@pytest.mark.parametrize("request_", [UPDATE, update(), update(None, anonymous_id="a")])
def test_a_request_comes_back_as_it_was(request_):
    text = WRITES.encode(request_)
    back = WRITES.decode(WRITES.kind_of(request_), text)
    assert back == request_
    assert WRITES.encode(back) == text


def test_what_may_not_be_kept_is_refused():
    class Other(userflux.UpdateProfile, frozen=True, kw_only=True):
        pass

    for wrong, said in (
        (amplitude.GetProfile("u"), "is a read"),
        ("u", "str is not a request"),
        (None, "NoneType is not a request"),
        (Other("u"), "name userflux.Other when the outbox is made"),
    ):
        with pytest.raises(ConfigError, match=said):
            WRITES.kind_of(wrong)


def test_what_json_cannot_hold_is_refused():
    class Odd(Request[None], frozen=True):
        endpoint: ClassVar[Endpoint] = Endpoint(Vendor("acme"), "POST", "/odd", body=("thing",))
        thing: Any = None

    with pytest.raises(ConfigError, match="acme.Odd cannot be kept in a file"):
        Writes((Odd,)).encode(Odd(object()))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"userId": 1}', b'{"userId": "null"}', b"{}", b"\xff"])
def test_a_text_that_is_no_request_is_refused(text):
    with pytest.raises(ConfigError, match="userflux.UpdateProfile cannot be read from the file"):
        WRITES.decode("userflux.UpdateProfile", text)


def test_a_class_that_is_not_known_is_refused():
    with pytest.raises(ConfigError, match="acme.Move is not among the requests"):
        WRITES.decode("acme.Move", b"{}")


def test_classes_that_cannot_be_kept_are_refused():
    class UpdateProfile(userflux.UpdateProfile, frozen=True, kw_only=True):
        pass

    class Merging(Request[None], frozen=True):
        endpoint: ClassVar[Endpoint] = Endpoint(Vendor("acme"), "POST", "/m", body=("name",), merge="name")
        name: str

    for classes, said in (
        ((amplitude.GetProfile,), "is a read"),
        ((Request,), "must be classes of requests"),
        (("userflux.UpdateProfile",), "must be classes of requests"),
        ((userflux.UpdateProfile, UpdateProfile), "two of the requests are called userflux.UpdateProfile"),
        ((Merging,), "has no JSON object 'name'"),
    ):
        with pytest.raises(ConfigError, match=said):
            Writes(classes)


def test_writes_are_merged_and_the_later_one_wins():
    several = [update(properties={"a": 1, "b": {"x": 1}}), update(properties={"b": {"y": 2}, "c": None})]
    assert merged(several) == (update(properties={"a": 1, "b": {"y": 2}, "c": None}), 2)


def test_a_write_without_properties_adds_none():
    several = [update(), update(properties={"a": 1}), update(), update(properties={})]
    assert merged(several) == (update(properties={"a": 1}), 4)
    assert merged([update(), update()]) == (update(), 2)


@pytest.mark.parametrize(
    "other",
    [
        update(properties={"b": 2}, external_id="e"),
        update(properties={"b": 2}, location_enrichment=True),
        update(properties={"b": 2}, device_data={}),
        update(None, {"b": 2}, anonymous_id="u"),
    ],
)
def test_one_that_differs_in_anything_else_stays_apart(other):
    assert merged([update(properties={"a": 1}), other]) == (update(properties={"a": 1}), 1)


def test_numbers_that_python_takes_for_equal_are_not():
    one, true = (update(properties={"a": 1}, device_data={"n": value}) for value in (1, True))
    assert one == true
    assert merged([one, true])[1] == 1


def test_a_class_without_a_field_to_merge_is_not_merged():
    class Move(Request[None], frozen=True):
        endpoint: ClassVar[Endpoint] = Endpoint(Vendor("acme"), "POST", "/move", body=("to",))
        to: dict[str, Any] | None = None

    assert merged([Move({"a": 1}), Move({"b": 1})]) == (Move({"a": 1}), 1)


class Picky(Request[None], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(Vendor("acme"), "POST", "/p", body=("to", "price"), merge="to")
    to: dict[str, Any] | None = None
    price: Decimal | None = None

    def __post_init__(self):
        super().__post_init__()
        if len(self.to or {}) > 2:
            raise KeyError("too many")


def test_what_a_class_does_not_stand_is_not_merged():
    assert merged([Picky({"a": 1}), Picky({"b": 1})]) == (Picky({"a": 1, "b": 1}), 2)
    assert merged([Picky({"a": 1}), Picky({"b": 1, "c": 1})]) == (Picky({"a": 1}), 1)
    assert merged([Picky({"a": 1}, Decimal(1)), Picky({"b": 1}, Decimal(2))])[1] == 1
    with pytest.raises(ConfigError, match="acme.Picky cannot be read from the file"):
        Writes((Picky,)).decode("acme.Picky", b'{"to": {"a": 1, "b": 1, "c": 1}}')
