"""Arguments that cannot work, refused with what to do about it. No message repeats a key."""

import ipaddress
import re
from urllib.parse import urlsplit

from profilekit.errors import ConfigError

__all__ = [
    "check_base_url",
    "check_count",
    "check_header",
    "check_key",
    "check_proxy",
    "check_seconds",
    "check_share",
    "check_text",
]

_FOREVER = float("inf")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_VISIBLE_ASCII = re.compile(r"[!-~]+")


def check_text(text: str, *where: str) -> None:
    """Refuse text that is blank or that no encoding can carry."""
    if not text or text.isspace():
        raise ConfigError(f"{': '.join(where)} is blank: leave it out, or give a value")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            reason = "holds half a character (a lone surrogate), which cannot be sent"
            raise ConfigError(f"{': '.join(where)} {reason}") from None


def check_count(where: str, count: object) -> None:
    """Refuse what is not a whole number from 1."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigError(f"{where} must be an int of at least 1, got {count!r}")


def check_seconds(where: str, seconds: object) -> None:
    """Refuse what is not a positive number of seconds; infinity is one."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _FOREVER:
        raise ConfigError(f"{where} must be a positive number of seconds, got {seconds!r}")


def check_share(where: str, share: object) -> None:
    """Refuse what is not a share: more than 0, up to 1."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError(f"{where} must be more than 0 and at most 1, got {share!r}")


def check_header(name: str, value: object) -> None:
    """Refuse a header field that could be read as more than one. Its value stays out of the message."""
    good = _TOKEN.fullmatch(name) and isinstance(value, str) and _FIELD_VALUE.fullmatch(value)
    # Error trackers show the variables of every frame.
    del value
    if not good:
        raise ConfigError(f"the header {name!a} holds what no header can: control characters, or no Latin-1")


def check_key(where: str, key: object) -> None:
    """Refuse a key that would not survive in a header."""
    good = key is None or (isinstance(key, str) and _VISIBLE_ASCII.fullmatch(key))
    # Error trackers show the variables of every frame.
    del key
    if not good:
        raise ConfigError(f"{where} must be text without spaces or control characters")


def check_base_url(where: str, url: object, *, allow_http: bool) -> None:
    """Refuse a URL that could send keys astray."""
    if isinstance(url, str) and _VISIBLE_ASCII.fullmatch(url):
        reason = _why_not(url, allow_http=allow_http)
    else:
        reason = "must be a URL such as https://host or https://host/prefix"
    # Error trackers show the variables of every frame, and it may hold a password.
    del url
    if reason:
        raise ConfigError(f"{where} {reason}")


def check_proxy(where: str, url: object) -> None:
    """Refuse what is not the URL of a proxy. It may hold a password, so no message repeats it."""
    good = _is_proxy(url)
    # Error trackers show the variables of every frame.
    del url
    if not good:
        raise ConfigError(f"{where} must be a URL such as http://user:password@host:3128")


def _why_not(url: str, *, allow_http: bool) -> str | None:
    """Say what is wrong with a URL, without repeating it: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        (host or "").encode("idna")
    except ValueError:
        return "is not a URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "must begin with https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "must not hold a user name or password"
    if "?" in url or "#" in url:
        return "must not hold a query or a fragment"
    if parts.scheme == "http" and not allow_http and not _is_loopback(host):
        return "must be https: over http anybody on the way reads the key (allow_http=True permits it)"
    return None


def _is_proxy(url: object) -> bool:
    if not isinstance(url, str) or not _VISIBLE_ASCII.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
