"""What the tests of both transports ask for, and for whom."""

import asyncio

from profilekit import Rate, amplitude
from profilekit.engine.transport import Headers, HttpRequest

BODY = b'{"userData": {"user_id": "u"}}'
GET = amplitude.GetProfile("u")
REQUEST = HttpRequest("GET", "/v1/userprofile?user_id=u", Headers({"Authorization": "Api-Key k"}))


def now():
    return asyncio.get_running_loop().time()


def account_at(url, **fields):
    """Return an account whose quota does not bind."""
    return amplitude.Account(secret_key="key", base_url=url, rate=Rate(10_000, per=1), **fields)
