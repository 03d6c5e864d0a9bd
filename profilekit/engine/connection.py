"""One connection to a vendor: one request, one answer, and again. llhttp does the framing."""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from profilekit.engine.answer import Fields
from profilekit.engine.transport import MAX_BODY, HttpResponse
from profilekit.errors import ConnectionFailedError, RequestTimeoutError, TransportError

__all__ = ["Connection", "buffer"]

_BUFFER = 32 * 1024
_MAX_HEAD = 64 * 1024


def buffer() -> memoryview:
    """Return a buffer to read into."""
    return memoryview(bytearray(_BUFFER))


class Connection(asyncio.BufferedProtocol):
    """Drives one transport. It reads into a buffer that it is given, so that a read allocates nothing.

    Attributes:
        reusable: Whether another request can be sent: nothing is under way, and nothing is left over.
        deadline: When the answer that is waited for comes too late, on the clock of the event loop.
        idle_since: When it was first seen idle, on the same clock; a request makes it None.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, view: memoryview) -> None:
        """Wait for ``connection_made``.

        Args:
            loop: The running event loop.
            view: Where to read to; other connections may read to the same place, in their turns.
        """
        self._loop = loop
        self._view = view
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._write: Callable[[bytes], None]
        self._answer: asyncio.Future[HttpResponse] | None = None
        self._keeps_alive = True
        self._status = 0
        self.reusable = False
        self.deadline = 0.0
        self.idle_since: float | None = None
        self._forget()

    def _forget(self) -> None:
        """Make room for the next answer."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._head_size = self._body_size = 0
        self._in_body = False

    # ---- what the pool does --------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for."""
        return self._answer is not None

    def ask(self, data: bytes, deadline: float) -> "asyncio.Future[HttpResponse]":
        """Send a request and return the future of its answer. Only for a connection that is reusable."""
        answer = self._answer = self._loop.create_future()
        self.deadline, self.idle_since, self.reusable = deadline, None, False
        self._write(data)
        return answer

    def expire(self) -> None:
        """End an exchange that is too late; its answer must not meet the next request."""
        self._end(RequestTimeoutError("the deadline passed before the whole answer was there"))

    def abort(self) -> None:
        """Close at once; whoever waits for an answer is told that there is none."""
        self._break("the connection was closed")

    # ---- what the network does -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write
        self.reusable = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's form
        """Return where to read to."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Hand what was read to the parser."""
        if self._answer is None:
            self._break("the server sent something that nobody asked for")
            return
        if not self._in_body:
            self._head_size += nbytes
        try:
            self._parser.feed_data(self._view[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(f"the answer is not HTTP as it should be ({error})")
        if self._head_size > _MAX_HEAD and not self._in_body:
            self._break(f"the head of the answer is larger than {_MAX_HEAD} bytes", retryable=False)

    def eof_received(self) -> None:
        """Complete an answer that nothing but the end of the connection ends."""
        if self._in_body and not self._keeps_alive and not self._has_length():
            self._complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        where = "inside" if self._head_size else "before"
        reason = f": {exc.strerror}" if isinstance(exc, OSError) and exc.strerror else ""
        self._break(f"the connection broke {where} the answer{reason}")

    def _has_length(self) -> bool:
        return any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self._fields)

    # ---- what the parser finds -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice a second answer to one request: there is no telling whose the next one would be."""
        if self._answer is None:
            self._keeps_alive = self.reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header field."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Tell the head of the answer from an interim one."""
        self._status = self._parser.get_status_code()
        if self._status < 200:
            self._fields.clear()
        elif self._answer is not None:
            self._in_body = True
            self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body, as long as the whole is not too large."""
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            self._break(f"the answer is larger than {MAX_BODY} bytes", retryable=False)
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand the answer over."""
        if self._in_body:
            self._complete()

    def _complete(self) -> None:
        answer, self._answer = self._answer, None
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if answer is not None and not answer.done():
            answer.set_result(HttpResponse(self._status, Fields(self._fields), body, self.abort))
        self.reusable = self._keeps_alive
        self._forget()

    # ---- how it ends ---------------------------------------------------------------------------

    def _break(self, reason: str, *, retryable: bool = True) -> None:
        error = ConnectionFailedError(reason)
        error.retryable = retryable
        self._end(error)

    def _end(self, error: TransportError) -> None:
        """Close for good. The request was written, so the vendor may have acted on it."""
        self._keeps_alive = False
        if self._in_body and self._status >= 300:
            # A refusal says all that is needed by its status, though its body is not whole.
            self._complete()
        error.maybe_applied = True
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)
        self._keeps_alive = self.reusable = False
        self._forget()
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()
