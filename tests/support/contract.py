"""What must hold for every vendor, whoever defined it."""

import pytest
from stub import Stub, answering, response

from profilekit import Failed, Ok, ProfileClient, Retry, errors
from profilekit.engine import wire

KINDS = {
    400: errors.InvalidRequestError,
    401: errors.AuthError,
    403: errors.AccessDeniedError,
    404: errors.ProfileNotFoundError,
    409: errors.InvalidRequestError,
    429: errors.ThrottledError,
    500: errors.VendorUnavailableError,
    503: errors.VendorUnavailableError,
    301: errors.StatusError,
}


class Contract:
    """One request of a vendor, a body that answers it, and what that body means."""

    def __init__(self, account, request, body, value, *, method="GET", target, headers, sent=None):
        self.account, self.request, self.body, self.value = account, request, body, value
        self.method, self.target, self.headers, self.sent = method, target, headers, sent


def built(request, account):
    """Return the HTTP request that a lane would send."""
    return wire.build(request, wire.template(type(request), account))


def builds(contract):
    http = built(contract.request, contract.account)
    assert (http.method, http.target, http.body) == (contract.method, contract.target, contract.sent)
    assert dict(contract.headers).items() <= dict(http.headers).items()


async def answers(contract):
    status = 200 if contract.body else 204
    stub = Stub(answering(response(status, contract.body)))
    async with ProfileClient(contract.account, transport=stub) as client:
        assert await client.send(contract.request) == contract.value
        (outcome,) = await client.send_all([contract.request])
        assert outcome == Ok(contract.request, contract.value)
        assert client.stats().vendors[contract.account.vendor.name].succeeded == 2


async def classifies(contract):
    for status, kind in KINDS.items():
        stub = Stub(answering(response(status, b"no")))
        async with ProfileClient(contract.account, transport=stub, retry=Retry(attempts=1)) as client:
            with pytest.raises(errors.StatusError) as caught:
                await client.send(contract.request)
            assert type(caught.value) is kind
            assert (caught.value.status, caught.value.body) == (status, "no")
            assert (caught.value.request, caught.value.attempts) == (contract.request, 1)
            assert client.stats().failed == {kind.__name__: 1}


async def retries_what_is_safe(contract):
    stub = Stub(answering(response(503), response(200, contract.body)))
    async with ProfileClient(contract.account, transport=stub, retry=Retry(first=0.001)) as client:
        (outcome,) = await client.send_all([contract.request])
    if contract.method == "GET":
        assert outcome == Ok(contract.request, contract.value)
        assert len(stub.requests) == 2
    else:
        assert isinstance(outcome, Failed)
        assert outcome.error.maybe_applied
        assert len(stub.requests) == 1


async def refuses_garbage(contract):
    if not contract.body:
        return
    for garbage in (b"", b"{", b"[]", b'"text"', b"<html></html>", b"\xff\xfe", b"[" * 100_000):
        stub = Stub(answering(response(200, garbage)))
        async with ProfileClient(contract.account, transport=stub) as client:
            with pytest.raises(errors.DecodeError):
                await client.send(contract.request)
        assert len(stub.requests) == 1


CHECKS = (answers, classifies, retries_what_is_safe, refuses_garbage)


async def check(contract):
    builds(contract)
    for one in CHECKS:
        await one(contract)
