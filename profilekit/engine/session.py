"""A transport over ``aiohttp.ClientSession``: for proxies, the caller's own session, and its tracing."""

import ssl
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from profilekit.engine.deadlines import Deadlines
from profilekit.engine.transport import MAX_BODY, HttpRequest, HttpResponse, Sent, Transport, TransportFactory
from profilekit.errors import ClientClosedError, ConfigError, ConnectionFailedError, RequestTimeoutError
from profilekit.request import Account

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

__all__ = ["SessionTransport", "over", "own_session"]

_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)

# These come before the first byte of the request leaves.
_HOPELESS = (aiohttp.ClientSSLError, aiohttp.InvalidURL)
_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


class _LostError(aiohttp.ClientError):
    """Stands in for errors on which aiohttp would silently send the request again, past the quota."""


class _Request(aiohttp.ClientRequest):
    """A request that knows whom to tell that it leaves, and has no header of aiohttp's own."""

    # To be told for each request which headers to skip costs more.
    DEFAULT_HEADERS = {}  # noqa: RUF012 - aiohttp's name, and nobody changes it
    leaves: Sent


class _Connector(aiohttp.TCPConnector):
    """Says when a request leaves: with a connection in hand, nothing is waited for. Tracing costs more."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: "list[Trace]", timeout: aiohttp.ClientTimeout
    ) -> "Connection":
        connection = await super().connect(req, traces, timeout)
        cast("_Request", req).leaves()
        return connection


async def _once(
    sent: Sent, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    cast("_Request", request).leaves = sent
    try:
        return await handler(request)
    except _NOT_SENT:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        lost = _LostError(error.strerror if isinstance(error, OSError) else "the server closed it")
    raise lost


class SessionTransport:
    """Sends over one aiohttp session, once each, following no redirect."""

    def __init__(self, account: Account, session: aiohttp.ClientSession, *, owned: bool) -> None:
        """Take a session.

        Args:
            account: Where to.
            session: What sends.
            owned: Whether the session is closed with the transport.
        """
        origin = urlsplit(account.base_url)
        self._scheme, self._authority = origin.scheme, origin.netloc
        self._session = session
        self._deadlines = Deadlines()
        self._owned = owned
        self.says_when_sent = owned

    async def exchange(self, request: HttpRequest, deadline: float, sent: Sent) -> HttpResponse:
        """Send one request once; see ``Transport.exchange``."""
        if self._session.closed:
            raise ClientClosedError("the aiohttp session was closed")
        failure: ConnectionFailedError | RequestTimeoutError
        try:
            with self._deadlines.until(deadline) as scope:
                return await self._exchange(request, sent)
        except (aiohttp.ClientError, OSError) as error:
            if scope.expired:
                failure = RequestTimeoutError("the deadline passed before the whole answer was there")
                failure.maybe_applied = True
            else:
                failure = ConnectionFailedError(_describe(error))
                failure.maybe_applied = not isinstance(error, _NOT_SENT)
                failure.retryable = not _is_hopeless(error)
        # Outside of the handler, so that no aiohttp error, which holds the headers, hangs on to ours.
        raise failure

    async def _exchange(self, request: HttpRequest, sent: Sent) -> HttpResponse:
        # Built of its parts, a URL is not taken apart first.
        path, _, query = request.target.partition("?")
        response = await self._session.request(
            request.method,
            URL.build(
                scheme=self._scheme, authority=self._authority, path=path, query_string=query, encoded=True
            ),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            middlewares=(partial(_once, sent),) if self._owned else None,
        )
        try:
            body = await _read(response.content)
        except BaseException:
            response.close()
            raise
        return HttpResponse(response.status, response.headers, body)

    async def close(self) -> None:
        """Close the session, if it is ours."""
        if self._owned:
            await self._session.close()


async def _read(content: aiohttp.StreamReader) -> bytes:
    """Read a whole body, which may not be larger than MAX_BODY once decompressed."""
    parts: list[bytes] = []
    size = 0
    while not content.at_eof():
        parts.append(await content.readany())
        size += len(parts[-1])
        if size > MAX_BODY:
            error = ConnectionFailedError(f"the answer is larger than {MAX_BODY} bytes")
            error.retryable = False
            error.maybe_applied = True
            raise error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _is_hopeless(error: Exception) -> bool:
    """Say whether it would end the same way again."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return error.status < 500
    return isinstance(error, _HOPELESS)


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
    if isinstance(error, _LostError):
        return f"the connection broke: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"the connection broke: {error.strerror}"
    return f"the answer broke off or is no HTTP ({type(error).__name__})"


def own_session(
    account: Account, *, proxy: str | None = None, tls: ssl.SSLContext | None = None
) -> Transport:
    """Return a transport with a session of its own: nothing shared, no cookies, no netrc.

    Args:
        account: Where to.
        proxy: The URL of the proxy to go through, or None.
        tls: Whom to trust; the system's authorities unless told otherwise.
    """
    session = aiohttp.ClientSession(
        connector=_Connector(limit=account.max_in_flight, ssl=tls or True),
        request_class=_Request,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"profilekit/{version('profilekit')}"},
        timeout=_NO_TIMEOUT,
        proxy=proxy,
    )
    return SessionTransport(account, session, owned=True)


def over(session: aiohttp.ClientSession) -> TransportFactory:
    """Return a factory of transports over the caller's session, which stays open and as it is.

    What aiohttp does in a session that is not ours can only be seen from outside: a request counts
    against the quota from when its answer is there, which uses less of a short window; and where a
    kept-alive connection turns out to be closed, a read is silently sent again, once, uncounted.

    Raises:
        ConfigError: When the session authorises requests by itself.
    """
    if session.auth is not None:
        raise ConfigError("the aiohttp session must not have an auth of its own: requests bring theirs")
    return lambda account: SessionTransport(account, session, owned=False)
