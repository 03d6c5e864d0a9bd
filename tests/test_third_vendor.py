"""A vendor that the package has never heard of, defined here, under the same contract."""

from typing import Any, ClassVar

import msgspec
from clock import virtual
from contract import Contract, check
from stub import Stub, answering, response

from profilekit import Account, Endpoint, Ok, ProfileClient, Rate, Request, Vendor, amplitude, errors


def classify(_, body):
    return errors.ThrottledError if b"slow down" in body else None


ACME = Vendor("acme", classify)


class AcmeAccount(Account, frozen=True, kw_only=True):
    vendor: ClassVar[Vendor] = ACME
    token: str
    base_url: str = "https://acme.example/api"
    rate: Rate = Rate(50, per=1)

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        return {"X-Token": self.token}


class Person(msgspec.Struct, frozen=True):
    name: str
    traits: dict[str, Any] | None = None


class GetPerson(Request[Person], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(
        ACME, "GET", "/people/{person}/card", query=("fields",), ids=("person",), unwrap="data"
    )
    person: str
    fields: str | tuple[str, ...] | None = None


class MovePerson(Request[None], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(ACME, "PUT", "/people/{person}", body=("city",))
    person: str
    city: str


ACCOUNT = AcmeAccount(token="token-1")


async def test_reading_keeps_the_contract():
    await check(
        Contract(
            ACCOUNT,
            GetPerson("a/b", fields=("x", "y")),
            b'{"data": {"name": "Ann"}}',
            Person("Ann"),
            target="/api/people/a%2Fb/card?fields=x,y",
            headers={"X-Token": "token-1"},
        )
    )


async def test_writing_keeps_the_contract():
    await check(
        Contract(
            ACCOUNT,
            MovePerson("a", "Oslo"),
            b"",
            None,
            method="PUT",
            target="/api/people/a",
            headers={"X-Token": "token-1", "Content-Type": "application/json"},
            sent=b'{"city":"Oslo"}',
        )
    )


def test_its_own_words_decide_and_its_key_stays_hidden():
    stub = Stub(answering(response(400, b"slow down token-1"), response(200, b'{"data": {"name": "Ann"}}')))

    async def main():
        async with ProfileClient(ACCOUNT, transport=stub) as client:
            assert await client.send(GetPerson("a")) == Person("Ann")
            assert client.stats().retries == 1

    virtual(main())
    assert "token-1" not in repr(ACCOUNT)


async def test_it_lives_beside_the_others():
    def answer(request):
        return response(
            200, b'{"data": {"name": "Ann"}}' if "people" in request.target else b'{"userData": {}}'
        )

    async with ProfileClient(ACCOUNT, amplitude.Account(secret_key="key"), transport=Stub(answer)) as client:
        outcomes = await client.send_all([GetPerson("a"), amplitude.GetProfile("u")])
    assert outcomes == [
        Ok(GetPerson("a"), Person("Ann")),
        Ok(amplitude.GetProfile("u"), amplitude.Profile()),
    ]
