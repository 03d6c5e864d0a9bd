"""A transport over ``aiohttp.ClientSession``: for proxies, the caller's own session, and its tracing."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from profilekit.engine.answer import Fields, encoding_of
from profilekit.engine.compression import decompressed
from profilekit.engine.deadlines import Deadlines
from profilekit.engine.proxy import Proxy
from profilekit.engine.transport import (
    MAX_BODY,
    Headers,
    HttpRequest,
    HttpResponse,
    Sent,
    Transport,
    TransportFactory,
)
from profilekit.errors import ClientClosedError, ConfigError, ConnectionFailedError, RequestTimeoutError
from profilekit.request import Account
from profilekit.secret import without_frames

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

_Send: TypeAlias = "Callable[[Connection], Awaitable[aiohttp.ClientResponse]]"

__all__ = ["SessionTransport", "over", "own_session"]

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

# A session offers all that aiohttp can decompress by itself.
_ACCEPTED = {"Accept-Encoding": "gzip, deflate"}

# These come before the first byte of the request leaves.
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class _Request(aiohttp.ClientRequest):
    """A request without headers of aiohttp's own."""

    # To name for each request which headers to skip costs more.
    DEFAULT_HEADERS = {}  # noqa: RUF012 - aiohttp's name, and nothing changes it


class _LostError(aiohttp.ClientError):
    """Stands in for errors on which aiohttp would silently send the request again, past the quota."""


class _LeftoverError(aiohttp.ClientError):
    """The connection holds bytes that no request asked for. It was closed, and nothing was sent."""


class _HopelessError(aiohttp.ClientError):
    """The exchange failed, and would fail in the same way again."""


class _Departure:
    """Watches one request leave its session: once, and over a connection with nothing left over.

    Attributes:
        held: Whether aiohttp has the request, and it has not left yet.
        protocol: The connection that the request left over, once it has.
        refusal: The head of an answer that is no success. It says enough if the body does not arrive.
    """

    __slots__ = ("_sent", "held", "protocol", "refusal")

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self.held = False
        self.protocol: ResponseHandler | None = None
        self.refusal: HttpResponse | None = None

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Pass a request on; aiohttp's form of a middleware."""
        # A middleware has no hook for the moment a request leaves, and a request has no other.
        request.send = partial(self._send, request.send)  # type: ignore[method-assign]
        self.held = self.protocol is None
        try:
            return await handler(request)
        except _NOT_SENT:
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the server closed it"
            lost = _LostError(f"the connection broke: {reason}")
        raise lost

    async def _send(self, send: "_Send", connection: "Connection") -> aiohttp.ClientResponse:
        if self.protocol is not None:
            raise _HopelessError(
                "a middleware of the aiohttp session sent the request again: leave that to Retry"
            )
        protocol = connection.protocol
        if protocol is None or protocol.should_close:
            raise _LeftoverError
        self.held, self.protocol = False, protocol
        self._sent()
        return await send(connection)


class SessionTransport:
    """Sends over one aiohttp session, once each, following no redirect."""

    says_when_sent = True

    def __init__(
        self,
        account: Account,
        session: aiohttp.ClientSession,
        *,
        owned: bool,
        proxy_headers: Headers | None = None,
    ) -> None:
        """Take a session.

        Args:
            account: Where to.
            session: What sends.
            owned: Whether the session is closed with the transport.
            proxy_headers: What the session's proxy wants to be told before it opens a tunnel.
        """
        origin = urlsplit(account.base_url)
        self._scheme, self._authority = origin.scheme, origin.netloc
        self._session = session
        # Middlewares of a request replace those of its session, for which aiohttp has no public name.
        self._middlewares = tuple(getattr(session, "_middlewares", ()))
        self._connections = account.max_in_flight
        self._deadlines = Deadlines()
        self._owned = owned
        self._proxy_headers = proxy_headers

    async def exchange(self, request: HttpRequest, deadline: float, sent: Sent) -> HttpResponse:
        """Send one request once; see ``Transport.exchange``."""
        if self._session.closed:
            raise ClientClosedError("the aiohttp session was closed")
        failure: ConnectionFailedError | RequestTimeoutError | asyncio.CancelledError
        departure = _Departure(sent)
        try:
            with self._deadlines.until(deadline) as scope:
                response = await self._exchange(request, departure)
        except (aiohttp.ClientError, OSError) as error:
            if departure.refusal is not None:
                return departure.refusal
            if scope.expired:
                failure = RequestTimeoutError("the deadline passed before the whole answer was there")
            else:
                failure = ConnectionFailedError(_describe(error))
                failure.retryable = not _is_hopeless(error)
            failure.maybe_applied = not (departure.held or isinstance(error, _NOT_SENT))
        except asyncio.CancelledError as error:
            failure = without_frames(error)
        else:
            encoding = encoding_of(cast("Fields", response.headers))
            return response if encoding is None else await decompressed(response, encoding, deadline)
        # Outside of the handler, so that no frame and no error of aiohttp's goes along: they hold headers.
        raise failure

    async def _exchange(self, request: HttpRequest, departure: _Departure) -> HttpResponse:
        # A connection with something left over is closed, so there can be as many as the pool has.
        for _ in range(self._connections):
            with suppress(_LeftoverError):
                return await self._request(request, departure)
        return await self._request(request, departure)

    async def _request(self, request: HttpRequest, departure: _Departure) -> HttpResponse:
        # Built of its parts, a URL is not taken apart first.
        path, _, query = request.target.partition("?")
        response = await self._session.request(
            request.method,
            URL.build(
                scheme=self._scheme, authority=self._authority, path=path, query_string=query, encoded=True
            ),
            headers=request.headers if self._owned else Headers({**request.headers, **_ACCEPTED}),
            proxy_headers=self._proxy_headers,
            data=request.body,
            allow_redirects=False,
            auto_decompress=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            middlewares=(*self._middlewares, departure),
        )
        status, fields = response.status, Fields([*response.raw_headers])
        if status >= 300:
            departure.refusal = HttpResponse(status, fields, b"")
        try:
            body = await _read(response.content)
        except BaseException:
            response.close()
            raise
        protocol = departure.protocol
        return HttpResponse(status, fields, body, response.close if protocol is None else protocol.close)

    async def close(self) -> None:
        """Close the session, if it is ours."""
        if self._owned:
            await self._session.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read a whole body, which may not be larger than MAX_BODY."""
    parts: list[bytes] = []
    size = 0
    while not content.at_eof():
        parts.append(await content.readany())
        size += len(parts[-1])
        if size > MAX_BODY:
            raise _HopelessError(f"the answer is larger than {MAX_BODY} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_hopeless(error: Exception) -> bool:
    """Say whether it would end the same way again."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status < 500
    return isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL | _HopelessError)


def _describe(error: Exception) -> str:
    """Say what broke, without the URL and the headers that aiohttp's own texts hold."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            f"{error.host}:{error.port} has a certificate that cannot be trusted: {error.certificate_error}"
        )
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"cannot connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, _HopelessError | _LostError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"the connection broke: {error.strerror}"
    return f"the answer broke off or is no HTTP ({type(error).__name__})"


def own_session(
    account: Account, *, proxy: Proxy | None = None, tls: ssl.SSLContext | None = None
) -> Transport:
    """Return a transport with a session of its own: nothing shared, no cookies, no netrc.

    Args:
        account: Where to.
        proxy: The proxy to go through, or None.
        tls: Whom to trust; the system's authorities unless told otherwise.
    """
    to_proxy = Headers({}) if proxy is None else proxy.headers
    # Without a tunnel, the proxy reads the headers of each request.
    is_plain = urlsplit(account.base_url).scheme == "http"
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=account.max_in_flight, ssl=tls or True),
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"profilekit/{version('profilekit')}", **(to_proxy if is_plain else {})},
        timeout=_NO_TIMEOUT,
        proxy=None if proxy is None else proxy.url,
    )
    return SessionTransport(account, session, owned=True, proxy_headers=None if is_plain else to_proxy)


def over(session: aiohttp.ClientSession) -> TransportFactory:
    """Return a factory of transports over the caller's session, which stays open and as it is.

    Its middlewares are run for each request. One that sends a request again gets an error, as the
    second request would be past the quota.

    Raises:
        ConfigError: When the session authorises requests by itself.
    """
    if session.auth is not None:
        raise ConfigError("the aiohttp session must not have an auth of its own: requests bring theirs")
    return lambda account: SessionTransport(account, session, owned=False)
