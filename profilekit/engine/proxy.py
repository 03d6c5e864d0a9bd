"""A proxy, with its password apart from its URL, which aiohttp's frames show."""

from base64 import b64encode
from urllib.parse import unquote_to_bytes, urlsplit

import msgspec

from profilekit.checks import check_proxy
from profilekit.engine.transport import Headers

__all__ = ["Proxy", "read_proxy"]


class Proxy(msgspec.Struct, frozen=True):
    """Where an HTTP proxy is.

    Attributes:
        url: Its URL, without user and password.
        headers: The headers that it wants, which hold them.
    """

    url: str
    headers: Headers


def read_proxy(url: str) -> Proxy:
    """Read the URL of a proxy, with its user and password if it has any.

    Raises:
        ConfigError: When it is not the URL of a proxy.
    """
    try:
        check_proxy("ProfileClient: proxy", url)
        parts = urlsplit(url)
        login, at, address = parts.netloc.rpartition("@")
        user, _, password = map(unquote_to_bytes, login.partition(":"))
        credentials = b64encode(user + b":" + password).decode()
        headers = Headers({"Proxy-Authorization": f"Basic {credentials}"} if at else {})
        return Proxy(parts._replace(netloc=address).geturl(), headers)
    finally:
        # Trackers show the variables of every frame.
        del url
