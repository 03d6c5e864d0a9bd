"""What the contract tests leave: Retry-After, hints, texts from outside."""

import datetime as dt
import enum
from typing import ClassVar, Literal

import msgspec
import pytest
from stub import response

from profilekit import Endpoint, Request, Vendor, amplitude, errors
from profilekit.engine import verdict, wire

NOW = 1_700_000_000.0
GET = amplitude.GetProfile("u")
ACCOUNT = amplitude.Account(secret_key="secret-key")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (" 1.5 ", 1.5),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("999999999", 999999999.0),
        ("-1", None),
        ("", None),
        ("soon", None),
        ("1e9", None),
        ("9" * 400, None),
        ("Tue, 99 Nov 2023 22:13:00 GMT", None),
    ],
)
def test_retry_after(text, seconds):
    assert verdict.retry_after({"retry-after": text}, NOW) == seconds


def test_retry_after_left_out():
    assert verdict.retry_after({}, NOW) is None


def fail(status, body=b"", **headers):
    with pytest.raises(errors.RequestError) as caught:
        wire.parse(GET, response(status, body, **headers), wire.decoder_for(type(GET)), ACCOUNT)
    return caught.value


def test_retry_after_reaches_the_error():
    assert fail(429, retry_after="12").retry_after == 12
    assert fail(503, retry_after="nonsense").retry_after is None


@pytest.mark.parametrize("status", [100, 199, 300, 304, 399])
def test_what_is_neither_success_nor_error_is_a_status_error(status):
    assert type(fail(status)) is errors.StatusError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (402, errors.InvalidRequestError),
        (408, errors.VendorUnavailableError),
        (418, errors.InvalidRequestError),
        (425, errors.VendorUnavailableError),
        (499, errors.InvalidRequestError),
        (502, errors.VendorUnavailableError),
        (504, errors.VendorUnavailableError),
        (599, errors.VendorUnavailableError),
    ],
)
def test_statuses(status, kind):
    assert type(fail(status)) is kind


def test_a_long_body_is_cut():
    error = fail(500, b"x" * 100_000)
    assert len(error.body) == 2048
    assert len(str(error)) < 400


def test_a_key_across_the_cut_leaves_no_half_behind():
    error = fail(500, b"x" * 2040 + b"secret-key")
    assert "secret" not in error.body


@pytest.mark.parametrize("size", [0, 1, 7, 2040, 2047, 4090, 4096, 70_000])
def test_no_half_of_a_key_is_left_wherever_the_body_is_cut(size):
    error = fail(401, b"x" * size + b"secret-key" * 20_000)
    assert "secret" not in error.body + str(error)
    assert "y" not in error.body


@pytest.mark.parametrize(
    "form", ["ab/cd+ef==", "ab\\/cd+ef==", "ab%2Fcd%2Bef%3D%3D", "ab/cd%2Bef%3D%3D", "ab&lt;", '"ab/cd+ef=="']
)
def test_a_key_is_known_in_the_forms_in_which_it_comes_back(form):
    for secret in ("ab/cd+ef==", "ab<cd"):
        account = amplitude.Account(secret_key=secret)
        with pytest.raises(errors.StatusError) as caught:
            wire.parse(GET, response(401, form.encode()), wire.decoder_for(type(GET)), account)
        if secret == "ab/cd+ef==" and "lt" not in form:
            assert "cd" not in caught.value.body


def test_a_decode_error_stays_short():
    class Plan(msgspec.Struct):
        user_id: Literal["a", "b"]

    body = b'{"userData": {"user_id": "' + b"x" * 1_000_000 + b'"}}'
    with pytest.raises(errors.DecodeError) as caught:
        wire.parse(GET, response(200, body), wire.decoder_for(type(GET), Plan), ACCOUNT)
    assert len(str(caught.value)) < 500


def test_a_decode_error_cannot_drive_a_terminal_either():
    class Plan(msgspec.Struct):
        user_id: Literal["a", "b"]

    body = '{"userData": {"user_id": "\\u001b[31m\\nsecret-key\\u202e日"}}'.encode()
    with pytest.raises(errors.DecodeError, match="Invalid enum value") as caught:
        wire.parse(GET, response(200, body), wire.decoder_for(type(GET), Plan), ACCOUNT)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()
    assert "secret-key" not in str(caught.value)
    assert caught.value.path == "$.userData.user_id"


def test_a_type_of_the_callers_own_that_fails_is_a_decode_error():
    class Picky(msgspec.Struct):
        user_id: str | None = None

        def __post_init__(self):
            raise KeyError("no")

    with pytest.raises(errors.DecodeError, match="no"):
        wire.parse(GET, response(200, b'{"userData": {}}'), wire.decoder_for(type(GET), Picky), ACCOUNT)


class Unresolved(msgspec.Struct):
    field: "Missing"  # noqa: F821 - that is the point


@pytest.mark.parametrize("into", [{}, [1], 5, Unresolved, dict[str, int] | Unresolved])
def test_what_is_no_type_is_refused(into):
    with pytest.raises(errors.ConfigError, match="cannot be decoded into"):
        wire.decoder_for(type(GET), into)
    with pytest.raises(errors.ConfigError, match="cannot be decoded into"):
        wire.check_into(into)


def test_a_vendor_that_stumbles_over_an_answer_leaves_it_to_the_status():
    def classify(status, body):
        raise ValueError(body)

    class Stumbling(Request[None], frozen=True):
        endpoint: ClassVar[Endpoint] = Endpoint(Vendor("stumbling", classify), "GET", "/")

    with pytest.raises(errors.VendorUnavailableError):
        wire.parse(Stumbling(), response(502, b"<html>"), None, ACCOUNT)


class Color(enum.Enum):
    RED = "red"


class Everything(Request[None], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(
        Vendor("everything"), "GET", "/{number}", query=("color", "names", "when", "tags", "share")
    )
    number: int
    color: Color | None = None
    names: list[str] | None = None
    when: dt.datetime | None = None
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    share: float = 0.5


def test_values_of_all_kinds_travel_in_a_query():
    when = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    request = Everything(7, color=Color.RED, names=["a b", "c"], when=when, share=0.25)
    form = wire.template(Everything, ACCOUNT)
    assert (
        wire.build(request, form).target
        == "/7?color=red&names=a%20b,c&when=2026-01-02T03%3A04%3A05Z&share=0.25"
    )
    assert wire.build(Everything(7), form).target == "/7"
    assert hash(request) == hash(Everything(7, color=Color.RED, names=["a b", "c"], when=when, share=0.25))
    assert repr(form).count("Api-Key") == 0


def test_texts_from_outside_cannot_drive_a_terminal():
    error = fail(500, "\x1b[31mred\r\n\u202eevil".encode())
    assert "\\x1b[31mred \\u202eevil" in str(error)
    assert str(error).isascii()


def test_a_message_names_no_user():
    assert "somebody" not in str(fail(404, b"no"))


@pytest.mark.parametrize("body", [b'{"userData": {"cohort_ids": [1]}}', b'{"userData": {"cohort_ids": "c"}}'])
def test_a_decode_error_says_where(body):
    error = fail(200, body, content_type="text/html")
    assert isinstance(error, errors.DecodeError)
    assert error.path.startswith("$.userData.cohort_ids")
    assert "text/html" in str(error)
    assert not error.retryable
