"""An outbox over a stub, and what the stub was asked to write."""

import json
from contextlib import asynccontextmanager

from stub import Stub, response

from profilekit import Breaker, ProfileClient, Rate, Retry, userflux
from profilekit.outbox import BackOff, Outbox

KEY = "canary-0123456789abcdef"
ACCOUNT = userflux.Account(write_key=KEY, base_url="http://localhost:1", rate=Rate(1_000_000, per=1))
NO_CONTENT = response(204)
SOON = BackOff(first=0.001, longest=0.01)


def write(user, **properties):
    return userflux.UpdateProfile(user, properties=properties)


def body(request):
    return json.loads(request.body)


def written(stub):
    """Return whom each request was about, and what it set."""
    return [(body(request).get("userId"), body(request)["properties"]) for request in stub.requests]


def accepting():
    return Stub(lambda request: NO_CONTENT)


@asynccontextmanager
async def opened(path, stub, *, breaker=None, **options):
    options = {"back_off": SOON, **options}
    client = ProfileClient(
        ACCOUNT, transport=stub, retry=Retry(attempts=1), breaker=breaker or Breaker(failures=1_000_000)
    )
    async with client, Outbox(path, client, **options) as outbox:
        yield outbox
