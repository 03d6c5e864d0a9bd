"""Compressed bodies: decompressed in short steps, so that no answer holds the event loop."""

import asyncio
import zlib
from collections.abc import Iterator

from profilekit.engine.transport import MAX_BODY, HttpResponse
from profilekit.errors import ConnectionFailedError, RequestTimeoutError, TransportError

__all__ = ["decompressed"]

# Servers compress once. A third coding is a fault or an attack.
_MOST_CODINGS = 2

# One step takes about 10 ms at worst: bytes read, and bytes written.
_STEP_IN = 64 * 1024
_STEP_OUT = 256 * 1024

_GZIP_MAGIC = b"\x1f\x8b"
# zlib's name for "gzip or zlib, as the header of the data says".
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


async def decompressed(response: HttpResponse, encoding: str, deadline: float) -> HttpResponse:
    """Return an answer with its body decompressed, or as it came and with the fault that prevented it.

    Nothing is raised: the status may say all that the caller needs to know.

    Args:
        response: The answer as it came.
        encoding: Its Content-Encoding. What we do not know is left as it is, for the decoder to judge.
        deadline: When to give up, on the clock of the event loop.
    """
    try:
        body, fault = await _decoded(response.body, encoding, deadline), None
    except TransportError as error:
        error.maybe_applied = True
        body, fault = response.body, error.with_traceback(None)
    return HttpResponse(response.status, response.headers, body, response.discard, fault)


async def _decoded(body: bytes, encoding: str, deadline: float) -> bytes:
    codings = [name.strip().lower() for name in encoding.split(",")]
    if sum(name not in {"", "identity"} for name in codings) > _MOST_CODINGS:
        raise _unreadable(f"the answer is compressed more than {_MOST_CODINGS} times", retryable=False)
    for name in reversed(codings):
        if not body or name not in {"gzip", "x-gzip", "deflate", "", "identity"}:
            return body
        if name not in {"", "identity"}:
            raw = name == "deflate" and not _has_zlib_header(body)
            body = await _inflated(body, -zlib.MAX_WBITS if raw else _GZIP_OR_ZLIB, deadline)
    return body


def _has_zlib_header(body: bytes) -> bool:
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0


async def _inflated(body: bytes, window_bits: int, deadline: float) -> bytes:
    now = asyncio.get_running_loop().time
    pieces: list[bytes] = []
    size = 0
    for piece in _inflate(body, window_bits):
        if pieces:
            await asyncio.sleep(0)
            if now() >= deadline:
                raise RequestTimeoutError("the deadline passed before the answer was decompressed")
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise _unreadable(f"the answer is larger than {MAX_BODY} bytes", retryable=False)
    return b"".join(pieces)


def _inflate(body: bytes, window_bits: int) -> Iterator[bytes]:
    """Yield the plain bytes, a step at a time. A gzip body may have several members (RFC 1952)."""
    at = 0
    while at == 0 or body.startswith(_GZIP_MAGIC, at):
        machine = zlib.decompressobj(window_bits)
        while not machine.eof:
            chunk = body[at : at + _STEP_IN]
            try:
                piece = machine.decompress(chunk, _STEP_OUT)
            except zlib.error:
                raise _unreadable("the answer's compression is broken") from None
            if not chunk and not piece:
                raise _unreadable("the answer's compression breaks off")
            at += len(chunk) - len(machine.unconsumed_tail) - len(machine.unused_data)
            yield piece


def _unreadable(reason: str, *, retryable: bool = True) -> ConnectionFailedError:
    error = ConnectionFailedError(reason)
    error.retryable = retryable
    return error
