"""What the contract tests leave: Retry-After, hints, texts from outside."""

import pytest
from stub import response

from profilekit import amplitude, errors
from profilekit.engine import wire

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
    assert wire.retry_after({"retry-after": text}, NOW) == seconds


def test_retry_after_left_out():
    assert wire.retry_after({}, NOW) is None


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
