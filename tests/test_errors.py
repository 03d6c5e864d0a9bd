"""Every class of the error tree, one by one."""

import pickle
import traceback

import pytest
from contract import built
from stub import response

from profilekit import amplitude, errors, userflux
from profilekit.engine import verdict, wire
from profilekit.errors import (
    ConfigError,
    ConnectionFailedError,
    DecodeError,
    ProfileKitError,
    RequestError,
    RequestTimeoutError,
    StatusError,
)
from profilekit.request import Account

KEY = "canary-0123456789abcdef"
REQUEST = amplitude.GetProfile("user-1")
ALL = [getattr(errors, name) for name in errors.__all__]
STATUS = [kind for kind in ALL if issubclass(kind, StatusError)]

BRANCHES = {
    "ConfigError": ProfileKitError,
    "ClientClosedError": ProfileKitError,
    "OutboxError": ProfileKitError,
    "OutboxFullError": errors.OutboxError,
    "RequestError": ProfileKitError,
    "QuotaUnavailableError": RequestError,
    "TransportError": RequestError,
    "ConnectionFailedError": errors.TransportError,
    "RequestTimeoutError": errors.TransportError,
    "StatusError": RequestError,
    "AuthError": StatusError,
    "AccessDeniedError": StatusError,
    "InvalidRequestError": StatusError,
    "ProfileNotFoundError": StatusError,
    "ThrottledError": StatusError,
    "VendorUnavailableError": StatusError,
    "DecodeError": RequestError,
    "WrongUserError": RequestError,
}


def made(kind):
    """Make an error as the engine does."""
    if issubclass(kind, StatusError):
        error = kind("it failed", status=500, body="the body")
    elif kind is DecodeError:
        error = kind("it failed", path="$.userData.user_id")
    else:
        error = kind("it failed")
    if isinstance(error, RequestError):
        error.request, error.attempts, error.retry_after = REQUEST, 3, 1.5
    return error


def test_the_tree_in_the_docstring_is_the_tree_there_is():
    drawn = {
        line.split("─ ")[1].split()[0].split("(")[0] for line in errors.__doc__.splitlines() if "─ " in line
    }
    assert drawn | {"ProfileKitError"} == set(errors.__all__)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_class_has_its_place_its_name_and_its_documentation(kind):
    assert kind.__name__.endswith("Error")
    assert kind.__doc__
    assert issubclass(kind, ProfileKitError)
    if kind is not ProfileKitError:
        assert kind.__bases__[0] is BRANCHES[kind.__name__]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_pickle_brings_everything_back(kind):
    error = made(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error) == "it failed"
    assert vars(copy) == vars(error)
    if isinstance(error, RequestError):
        assert (copy.request, copy.attempts, copy.retry_after) == (REQUEST, 3, 1.5)
        assert (copy.retryable, copy.maybe_applied) == (error.retryable, error.maybe_applied)


@pytest.mark.parametrize(
    "account",
    [
        amplitude.Account(secret_key=KEY),
        amplitude.Account(secret_key="other-secret-key", api_key=KEY),
        amplitude.Account(secret_key=KEY, api_key="some-api-key"),
    ],
    ids=["secret", "api", "basic"],
)
@pytest.mark.parametrize("kind", [*STATUS, DecodeError], ids=lambda kind: kind.__name__)
def test_no_key_is_shown_when_the_vendor_repeats_it(kind, account, monkeypatch):
    """The worst vendor: its answer repeats the Authorization header, and everything in it."""
    repeated = repr(account.headers(REQUEST.endpoint)).encode() + KEY.encode()
    status = 200 if kind is DecodeError else 418
    body = b'{"userData": {"propensity": "%s"}}' % KEY.encode() if kind is DecodeError else repeated
    if kind is not DecodeError:
        monkeypatch.setattr(verdict, "_class_of", lambda status: kind)
    error = raised(lambda: parse(response(status, body, content_type=KEY), account))
    assert type(error) is kind
    assert_no_key(error, account)


def parse(answer, account):
    return wire.parse(REQUEST, answer, wire.decoder_for(type(REQUEST)), account)


def raised(call):
    with pytest.raises(ProfileKitError) as caught:
        call()
    return caught.value


def assert_no_key(error, account):
    secrets = [*account.secrets(), account.headers(REQUEST.endpoint)["Authorization"].split()[1]]
    shown = [
        str(error),
        repr(error),
        repr(vars(error)),
        "".join(traceback.format_exception(error)),
        "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()),
        pickle.dumps(error).decode("latin-1"),
    ]
    for text in shown:
        for secret in secrets:
            assert secret not in text


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: amplitude.Account(secret_key=f"{KEY} {KEY}"), ConfigError),
        (lambda: amplitude.Account(secret_key=f"{KEY}\r\n"), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, base_url=f"https://{KEY}@host"), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, base_url=f"https://host/?key={KEY}"), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, base_url=f"https://api:{KEY}"), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, base_url=f"https://[{KEY}]"), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, max_in_flight=0), ConfigError),
        (lambda: amplitude.Account(secret_key=KEY, api_key=f"a:{KEY}"), ConfigError),
        (lambda: userflux.Account(read_key=KEY, rate=3), ConfigError),
        (lambda: userflux.Account(write_key=KEY).headers(userflux.GetProfile.endpoint), ConfigError),
    ],
)
def test_no_key_is_shown_when_an_account_is_wrong(make, kind):
    error = raised(make)
    assert type(error) is kind
    assert KEY not in "".join(traceback.format_exception(error))
    # As error trackers take them: with the variables of every frame of ours.
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    assert KEY not in repr([frame.locals for frame in frames if "profilekit/" in frame.filename])


@pytest.mark.parametrize(
    "account",
    [amplitude.Account(secret_key=KEY, api_key=KEY), userflux.Account(read_key=KEY, write_key=KEY)],
    ids=["amplitude", "userflux"],
)
def test_an_account_shows_no_key(account):
    from rich.pretty import pretty_repr

    for text in (repr(account), str(account), f"{account}", pretty_repr(account), pretty_repr([account])):
        assert KEY not in text
        assert "***" in text
        assert account.base_url in text


def test_http_requests_and_responses_show_no_header_and_no_body():
    from rich.pretty import pretty_repr

    http = built(REQUEST, amplitude.Account(secret_key=KEY))
    answer = response(200, KEY.encode(), authorization=KEY)
    for text in (repr(http), pretty_repr(http), repr(answer), pretty_repr(answer)):
        assert KEY not in text
        assert "user-1" not in text


def test_config_error_is_a_value_error_and_a_timeout_is_a_timeout():
    assert isinstance(ConfigError("x"), ValueError)
    assert isinstance(RequestTimeoutError("x"), TimeoutError)


def test_what_is_retryable_by_nature():
    retryable = {kind.__name__ for kind in ALL if getattr(kind, "retryable", False)}
    assert retryable == {
        "ConnectionFailedError",
        "ThrottledError",
        "VendorUnavailableError",
        "WrongUserError",
    }
    assert not ConnectionFailedError("x").maybe_applied


def test_keys_of_accounts_are_those_that_the_vendor_adds():
    assert amplitude.Account(secret_key=KEY, api_key="abcd").secrets() == (KEY, "abcd")
    assert set(Account.__struct_fields__) == {
        "base_url",
        "rate",
        "max_in_flight",
        "allow_http",
        "accept_aliases",
    }
