"""What raw answers are made of: header fields, and bodies that may be compressed."""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress

from profilekit.engine.transport import MAX_BODY, HttpResponse
from profilekit.errors import ConnectionFailedError

__all__ = ["Fields", "encoding_of", "inflated"]

# zlib's name for "gzip or zlib, whichever the header says".
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

_LENGTH = len("content-encoding")


class Fields(Mapping[str, str]):
    """Header fields as they came; decoded only if somebody looks, which after a success nobody does."""

    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """Take the fields as they came."""
        self.raw = raw

    def __getitem__(self, name: str) -> str:
        """Return the first field of a name, in whatever case."""
        wanted = name.lower().encode("latin-1")
        for found, value in self.raw:
            if found.lower() == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in lower case."""
        return iter(dict.fromkeys(name.lower().decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        """Count the names."""
        return len({name.lower() for name, _ in self.raw})


def encoding_of(response: HttpResponse) -> str | None:
    """Return how the body is compressed, if it is."""
    fields = response.headers
    if not isinstance(fields, Fields):
        return fields.get("content-encoding")
    for name, value in fields.raw:
        # Every answer is asked this, so first what costs least.
        if len(name) == _LENGTH and name.lower() == b"content-encoding":
            return value.decode("latin-1")
    return None


def inflated(body: bytes, encoding: str) -> bytes:
    """Return a body decompressed, to MAX_BODY at most.

    Raises:
        ConnectionFailedError: When it is too large, broken, or compressed in a way we did not offer.
    """
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in {"gzip", "x-gzip", "deflate"}:
            body = _inflate(body, raw=name == "deflate" and not _has_zlib_header(body))
        elif name not in {"", "identity"}:
            raise _unreadable(f"the answer is compressed as {name[:20]!a}")
    return body


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0


def _inflate(body: bytes, *, raw: bool) -> bytes:
    machine = zlib.decompressobj(-zlib.MAX_WBITS if raw else _GZIP_OR_ZLIB)
    plain: bytes | None = None
    with suppress(zlib.error):
        plain = machine.decompress(body, MAX_BODY + 1)
    if plain is None:
        raise _unreadable("the answer's compression is broken")
    if len(plain) > MAX_BODY:
        raise _unreadable(f"the answer is larger than {MAX_BODY} bytes", retryable=False)
    if not machine.eof:
        raise _unreadable("the answer's compression breaks off")
    return plain


def _unreadable(reason: str, *, retryable: bool = True) -> ConnectionFailedError:
    error = ConnectionFailedError(reason)
    error.retryable = retryable
    error.maybe_applied = True
    return error
