"""A transport that drives its connections itself: the hot path.

aiohttp's resolver and aiohappyeyeballs dial, llhttp frames, and in between there is one buffer for each
connection, no task and no timer for a request. What it does not do (proxies, tracing, a session of
the caller's own), the session transport does.
"""

import asyncio
import socket
import ssl
import sys
from collections import deque
from importlib.metadata import version
from typing import cast
from urllib.parse import urlsplit

import aiohappyeyeballs
import aiohttp

from profilekit.engine.answer import Fields, encoding_of
from profilekit.engine.callbacks import Timer
from profilekit.engine.compression import decompressed
from profilekit.engine.connection import Connection, buffer
from profilekit.engine.transport import Headers, HttpRequest, HttpResponse, Sent
from profilekit.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError
from profilekit.request import Account
from profilekit.secret import Secret

__all__ = ["DirectTransport"]

# How late a deadline may be noticed while answers are waited for, and otherwise how often idle
# connections are looked at, in seconds.
_SWEEP = 0.05
_REST = 1.0

# Vendors close idle connections after a minute or so; we do before.
_LONGEST_IDLE = 15.0

_HAPPY_EYEBALLS_DELAY = 0.25

# Event loops read and hand over in one step, so that one buffer serves all connections and stays in the
# processor's cache. Windows' own fills buffers in the background.
_ONE_BUFFER = sys.platform != "win32"


_CLOSED = "the client is closed"


class DirectTransport:
    """A pool of connections to the origin of one account."""

    says_when_sent = True

    def __init__(self, account: Account, *, tls: ssl.SSLContext | None = None) -> None:
        """Take where to; connections are made when they are needed.

        Args:
            account: Its ``base_url`` is where to, its ``max_in_flight`` how many connections at most.
            tls: Whom to trust; the system's authorities unless told otherwise.
        """
        origin = urlsplit(account.base_url)
        self._tls = (tls or ssl.create_default_context()) if origin.scheme == "https" else None
        self._host = origin.hostname or ""
        self._port = origin.port or (443 if self._tls else 80)
        self._fixed = f"Host: {origin.netloc}\r\nUser-Agent: profilekit/{version('profilekit')}\r\n"
        self._last_headers: Headers | None = None
        self._last_head = Secret()
        self._places = account.max_in_flight
        self._line: deque[asyncio.Future[None]] = deque()
        self._buffer = buffer()
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._sweeper = Timer("looking after connections has failed", self._sweep)
        self._resting = True
        self._closed = False

    async def exchange(self, request: HttpRequest, deadline: float, sent: Sent) -> HttpResponse:
        """Send one request once; see ``Transport.exchange``."""
        if self._places:
            self._places -= 1
        else:
            await self._place(deadline)
        try:
            connection = self._take() or await self._dial(deadline)
            if self._resting:
                self._look_again(_SWEEP)
            sent()
            try:
                # Not in a variable: trackers show those, and it holds the key.
                response = await connection.ask(self._encoded(request), deadline)
            except asyncio.CancelledError:
                connection.abort()
                raise
            finally:
                self._keep(connection)
        finally:
            if self._line:
                self._pass_on()
            else:
                self._places += 1
        encoding = encoding_of(cast("Fields", response.headers))
        return response if encoding is None else await decompressed(response, encoding, deadline)

    def _keep(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it can take one."""
        if connection.reusable:
            self._idle.append(connection)
        else:
            connection.abort()
            self._open.discard(connection)

    def _encoded(self, request: HttpRequest) -> bytes:
        """Return the bytes of a request."""
        # Mostly the headers are the very object of the request before.
        if request.headers is not self._last_headers:
            lines = "".join(name + ": " + value + "\r\n" for name, value in request.headers.items())
            self._last_headers, self._last_head = request.headers, Secret(self._fixed + lines)
        head = f"{request.method} {request.target} HTTP/1.1\r\n" + self._last_head
        if request.body is None:
            return (head + "\r\n").encode("latin-1")
        return f"{head}Content-Length: {len(request.body)}\r\n\r\n".encode("latin-1") + request.body

    # ---- connections ---------------------------------------------------------------------------

    def _take(self) -> Connection | None:
        """Return the idle connection that was used last, if there is one that still works."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            self._open.discard(connection)
        return None

    async def _place(self, deadline: float) -> None:
        """Wait in line for somebody's place."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except BaseException as error:
            # It had just come when whoever waited was cancelled.
            if not turn.cancelled():
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise RequestTimeoutError("no connection came free before the deadline") from None
            raise

    def _pass_on(self) -> None:
        """Give a place to the first in line, or back."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._places += 1

    async def _dial(self, deadline: float) -> Connection:
        if self._closed:
            raise ClientClosedError(_CLOSED)
        failure: ConnectionFailedError | RequestTimeoutError
        try:
            async with asyncio.timeout_at(deadline) as scope:
                connection = await self._connect()
        except OSError as error:
            if scope.expired():
                failure = RequestTimeoutError(
                    f"no connection to {self._host}:{self._port} before the deadline"
                )
            else:
                failure = ConnectionFailedError(
                    f"cannot connect to {self._host}:{self._port}: {_reason(error)}"
                )
                failure.retryable = not isinstance(error, ssl.SSLError)
        else:
            if connection.reusable and not self._closed:
                return connection
            connection.abort()
            self._open.discard(connection)
            if self._closed:
                raise ClientClosedError(_CLOSED)
            failure = ConnectionFailedError(f"{self._host}:{self._port} closed the connection at once")
        raise failure

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        resolver = aiohttp.ThreadedResolver()
        found = await resolver.resolve(self._host, self._port, family=socket.AF_UNSPEC)
        addresses = [
            (entry["family"], socket.SOCK_STREAM, entry["proto"], "", (entry["host"], entry["port"]))
            for entry in found
        ]
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY, interleave=1
        )
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(loop, self._buffer if _ONE_BUFFER else buffer()),
                sock=sock,
                ssl=self._tls,
                server_hostname=self._host if self._tls else None,
            )
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        return connection

    # ---- time ----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """End exchanges that are too late and connections that are idle for too long; come back."""
        now = asyncio.get_running_loop().time()
        for connection in tuple(self._open):
            if connection.busy:
                if connection.deadline <= now:
                    self._open.discard(connection)
                    connection.expire()
            elif connection.idle_since is None:
                connection.idle_since = now
            elif connection.idle_since + _LONGEST_IDLE <= now:
                self._open.discard(connection)
                connection.abort()
        if self._open:
            self._look_again(_SWEEP if any(connection.busy for connection in self._open) else _REST)
        else:
            self._resting = True

    def _look_again(self, after: float) -> None:
        self._resting = after == _REST
        self._sweeper.set(after)

    async def close(self) -> None:
        """Close every connection. Exchanges under way end with ConnectionFailedError."""
        self._closed = True
        self._sweeper.cancel()
        while self._open:
            self._open.pop().abort()
        self._idle.clear()
        # Transports close their sockets in the next turn of the loop.
        await asyncio.sleep(0)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}"
    return error.strerror or str(error) or type(error).__name__
