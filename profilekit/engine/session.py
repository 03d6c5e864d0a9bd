"""A transport over ``aiohttp.ClientSession``: for proxies, the caller's own session, and its tracing."""

import asyncio
import ssl
from importlib.metadata import version
from types import SimpleNamespace

import aiohttp
from yarl import URL

from profilekit.engine.transport import MAX_BODY, HttpRequest, HttpResponse, Sent, Transport, TransportFactory
from profilekit.errors import ClientClosedError, ConfigError, ConnectionFailedError, RequestTimeoutError
from profilekit.request import Account

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


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
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
        self._origin = str(URL(account.base_url).origin())
        self._session = session
        self._owned = owned
        self.says_when_sent = owned

    async def exchange(self, request: HttpRequest, deadline: float, sent: Sent) -> HttpResponse:
        """Send one request once; see ``Transport.exchange``."""
        if self._session.closed:
            raise ClientClosedError("the aiohttp session was closed")
        failure: ConnectionFailedError | RequestTimeoutError
        try:
            async with asyncio.timeout_at(deadline) as scope:
                return await self._exchange(request, sent)
        except (aiohttp.ClientError, OSError) as error:
            if scope.expired():
                failure = RequestTimeoutError("the deadline passed before the whole answer was there")
                failure.maybe_applied = True
            else:
                failure = ConnectionFailedError(_describe(error))
                failure.maybe_applied = not isinstance(error, _NOT_SENT)
                failure.retryable = not _is_hopeless(error)
        # Outside of the handler, so that no aiohttp error, which holds the headers, hangs on to ours.
        raise failure

    async def _exchange(self, request: HttpRequest, sent: Sent) -> HttpResponse:
        async with self._session.request(
            request.method,
            URL(self._origin + request.target, encoded=True),
            headers=request.headers,
            data=request.body,
            allow_redirects=False,
            raise_for_status=False,
            timeout=_NO_TIMEOUT,
            trace_request_ctx=sent if self._owned else None,
        ) as response:
            body = await _read(response)
        return HttpResponse(response.status, response.headers, body)

    async def close(self) -> None:
        """Close the session, if it is ours."""
        if self._owned:
            await self._session.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the whole body, which may not be larger than MAX_BODY once decompressed."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY:
            error = ConnectionFailedError(f"the answer is larger than {MAX_BODY} bytes")
            error.retryable = False
            error.maybe_applied = True
            raise error
    return bytes(body)


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


async def _tell_sent(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx()


def own_session(
    account: Account, *, proxy: str | None = None, tls: ssl.SSLContext | None = None
) -> Transport:
    """Return a transport with a session of its own: nothing shared, no cookies, no netrc.

    Args:
        account: Where to.
        proxy: The URL of the proxy to go through, or None.
        tls: Whom to trust; the system's authorities unless told otherwise.
    """
    connector = aiohttp.TCPConnector(limit=account.max_in_flight, ssl=tls or True)
    tracing = aiohttp.TraceConfig()
    tracing.on_request_headers_sent.append(_tell_sent)
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"profilekit/{version('profilekit')}"},
        skip_auto_headers=("Accept-Encoding",),
        timeout=_NO_TIMEOUT,
        middlewares=(_once,),
        trace_configs=[tracing],
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
