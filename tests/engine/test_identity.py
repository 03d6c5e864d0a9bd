"""Whether an answer is about the user that was asked for."""

import json

import pytest
from clock import virtual
from stub import Stub, answering, response

from profilekit import Cache, Ok, ProfileClient, Retry, amplitude, userflux
from profilekit.engine.identity import IdentityCheck
from profilekit.engine.transport import HttpResponse
from profilekit.errors import WrongUserError

AMPLITUDE = amplitude.Account(secret_key="k")
USERFLUX = userflux.Account(read_key="r", write_key="w")
CHECKS = {"amplitude": IdentityCheck(AMPLITUDE), "userflux": IdentityCheck(USERFLUX)}
USER, DEVICE = amplitude.GetProfile("u-1"), amplitude.GetProfile(device_id="d-1")
BOTH = amplitude.GetProfile("u-1", device_id="d-1")
FLUX = userflux.GetProfile("u-1")
WRITE = userflux.UpdateProfile("u-1", anonymous_id="a-1", properties={"a": 1})


def of(**data):
    return json.dumps({"userData": data}).encode()


def refused(request, body):
    """Return True if an answer is refused, which closes its connection."""
    closed = []
    check = CHECKS[request.endpoint.vendor.name]
    try:
        check.check(request, HttpResponse(200, {}, body, lambda: closed.append(1)))
    except WrongUserError:
        assert closed == [1]
        return True
    assert closed == []
    return False


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (USER, of(user_id="u-1", device_id="d-9")),
        (USER, json.dumps({"userData": {"user_id": "u-1"}}, separators=(",", ":")).encode()),
        (USER, of(amp_props={"user_id": "u-2"}, user_id="u-1")),
        (USER, b'{"userData": {"amp_props": {"a": {}}, "user_id": "u\\u002d1"}}'),
        (USER, of(amp_props={"user_id": "u-2"})),
        (USER, of(user_id=None, device_id=None)),
        (USER, of(user_id="", device_id=None)),
        (USER, b'{"userData": null}'),
        (USER, b"{}"),
        (USER, b"no JSON"),
        (USER, b'["userData"]'),
        (FLUX, b'{"segments": null}'),
        (FLUX, b"{}"),
        (USER, b'{"userData": {"user_id": "u-2"}'),
        (USER, b"[" * 100_000),
        (DEVICE, of(user_id="u-9", device_id="d-1")),
        (BOTH, of(user_id="u-1", device_id="d-9")),
        (BOTH, of(user_id="u-9", device_id="d-1")),
        (amplitude.GetProfile("17"), of(user_id=17)),
        (amplitude.GetProfile('a","user_id":"b'), of(user_id='a","user_id":"b')),
        (amplitude.GetProfile("a\\"), of(user_id="a\\")),
        (amplitude.GetProfile("ü"), of(user_id="ü")),
        (amplitude.GetProfile("ü"), '{"userData": {"user_id": "ü"}}'.encode()),
        (FLUX, b'{"id": "u-1"}'),
        (FLUX, b'{"properties": {"id": "u-2"}, "id": "u-1"}'),
        (FLUX, b'{"id": "u-2", "anonymousIds": ["a", "u-1"]}'),
        (FLUX, b'{"anonymousIds": [], "properties": {"id": "u-2"}}'),
        (WRITE, b'{"ok": true}'),
        (WRITE, b'{"id": "u-1"}'),
        (WRITE, b'{"id": "u-2", "anonymousIds": ["a-1"]}'),
        (WRITE, b"OK"),
    ],
    ids=lambda value: value.decode("utf-8", "replace")[:40] if isinstance(value, bytes) else "",
)
def test_an_answer_about_the_user_or_nobody_is_taken(request_, body):
    assert not refused(request_, body)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (USER, of(user_id="u-2")),
        (USER, of(user_id="u-2", device_id="d-1")),
        (USER, of(user_id=None, device_id="u-2")),
        (USER, of(user_id="U-1")),
        (USER, of(user_id="u-2", amp_props={"user_id": "u-1"})),
        (USER, of(amp_props={"user_id": "u-1"}, user_id="u-2")),
        (USER, of(cohort_ids=["u-1"], user_id="u-11")),
        (USER, b'{"userData":{"amp_props":{"user_id":"u-1"},"user_id":"u-2"}}'),
        (DEVICE, of(user_id="u-2", device_id="d-2")),
        (BOTH, of(user_id="u-2", device_id="d-2")),
        (amplitude.GetProfile('a","user_id":"b'), b'{"userData":{"user_id":"a","user_id":"b"}}'),
        (amplitude.GetProfile('a","x":"b'), b'{"userData":{"user_id":"a","x":"b"}}'),
        (amplitude.GetProfile("a\\"), b'{"userData":{"user_id":"a\\","}}'),
        (FLUX, b'{"id": "u-2"}'),
        (FLUX, b'{"id": "u-2", "anonymousIds": ["a"], "properties": {"id": "u-1"}}'),
        (WRITE, b'{"id": "u-2", "properties": {}}'),
        (USER, b'{"id": "u-1"}'),
        (FLUX, of(user_id="u-1")),
    ],
    ids=lambda value: value.decode()[:40] if isinstance(value, bytes) else "",
)
def test_an_answer_about_another_user_is_refused(request_, body):
    assert refused(request_, body)


def client_over(stub, account=AMPLITUDE, **options):
    return ProfileClient(account, USERFLUX, transport=stub, retry=Retry(attempts=3, first=0.01), **options)


def test_neither_caller_nor_cache_gets_it_and_a_read_is_sent_again():
    async def main():
        wrong, right = response(200, of(user_id="u-2")), response(200, of(user_id="u-1"))
        stub = Stub(answering(wrong, right))
        async with client_over(stub, cache=Cache(ttl=60)) as client:
            values = [await client.send(USER) for _ in range(3)]
            return values, client.stats()

    values, stats = virtual(main())
    assert [value.user_id for value in values] == ["u-1"] * 3
    assert (stats.sent, stats.retries, stats.cache_hits, stats.failed) == (2, 1, 2, {})


def test_the_error_tells_of_no_other_user():
    async def main():
        async with client_over(Stub(answering(response(200, of(user_id="secret-2"))))) as client:
            (failed,) = await client.send_all([USER], into=dict)
            return failed.error

    error = virtual(main())
    assert (type(error), error.attempts, error.maybe_applied) == (WrongUserError, 3, True)
    assert "secret-2" not in f"{error!r} {vars(error)}"
    assert "accept_aliases=True" in str(error)


def test_a_write_is_not_sent_again():
    async def main():
        stub = Stub(answering(response(200, b'{"id": "u-2"}')))
        async with client_over(stub) as client:
            (failed,) = await client.send_all([WRITE])
            return failed.error, len(stub.requests)

    error, sent = virtual(main())
    assert (type(error), sent) == (WrongUserError, 1)


def test_an_alias_is_taken_once_a_second_answer_names_it_again():
    alias = response(200, of(user_id="u-main"))

    async def main():
        stub = Stub(answering(alias))
        account = amplitude.Account(secret_key="k", accept_aliases=True)
        async with client_over(stub, account) as client:
            outcomes = await client.send_all([USER, USER])
            return outcomes, len(stub.requests)

    outcomes, sent = virtual(main())
    assert [type(outcome) for outcome in outcomes] == [Ok, Ok]
    assert sent == 3


def test_two_other_users_are_no_alias():
    others = [response(200, of(user_id=f"u-{number}")) for number in range(2, 9)]

    async def main():
        account = amplitude.Account(secret_key="k", accept_aliases=True)
        async with client_over(Stub(answering(*others)), account) as client:
            (failed,) = await client.send_all([USER])
            return failed.error

    assert isinstance(virtual(main()), WrongUserError)
