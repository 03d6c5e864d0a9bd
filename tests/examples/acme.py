"""A vendor of one's own: a value for who it is, a class for its account, a class for each request."""

from typing import ClassVar

import msgspec

from profilekit import Account, Endpoint, Rate, Request, Vendor

ACME = Vendor("acme")


class AcmeAccount(Account, frozen=True, kw_only=True):
    vendor: ClassVar[Vendor] = ACME
    token: str
    base_url: str = "https://api.acme.example"
    rate: Rate = Rate(50, per=1)

    def headers(self, endpoint: Endpoint) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Person(msgspec.Struct, frozen=True):
    name: str


class GetPerson(Request[Person], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(ACME, "GET", "/people/{person}", ids=("person",))
    person: str
