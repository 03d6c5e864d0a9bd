"""Which transport sends: the fastest that can do what the caller asks for."""

import ssl
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TypeAlias

import aiohttp

from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.engine.proxy import read_proxy
from profilekit.engine.transport import TransportFactory
from profilekit.errors import ConfigError

__all__ = ["Trust", "select"]

Trust: TypeAlias = ssl.SSLContext | str | PathLike[str]
"""Whom to trust over TLS: a context, or the file of a certificate authority."""


def select(
    *,
    tls: Trust | None,
    proxy: str | None,
    session: aiohttp.ClientSession | None,
    transport: TransportFactory | None,
) -> TransportFactory:
    """Return what makes the transports of a client.

    Raises:
        ConfigError: When two of them exclude each other, or one cannot be used.
    """
    try:
        through = None if proxy is None else read_proxy(proxy)
    finally:
        # Trackers show the variables of every frame, and it may hold a password.
        del proxy
    if sum(choice is not None for choice in (through, session, transport)) > 1:
        raise ConfigError("ProfileClient: give one of proxy, session and transport")
    if tls is not None and (session is not None or transport is not None):
        raise ConfigError("ProfileClient: a session or a transport of your own brings its own tls")
    context = None if tls is None else _context(tls)
    if through is not None:
        return partial(sessions.own_session, proxy=through, tls=context)
    if session is not None:
        return sessions.over(session)
    return transport or partial(DirectTransport, tls=context)


def _context(tls: Trust) -> ssl.SSLContext:
    """Return a context that verifies whom it talks to."""
    if isinstance(tls, ssl.SSLContext):
        if tls.verify_mode is not ssl.CERT_REQUIRED or not tls.check_hostname:
            raise ConfigError(
                "ProfileClient: tls verifies nothing; trust your authority: tls='authority.pem', "
                "or ssl.create_default_context(cafile=...)"
            )
        return tls
    if not isinstance(tls, str | PathLike):
        raise ConfigError("ProfileClient: tls must be an ssl.SSLContext, or the file of an authority")
    try:
        return ssl.create_default_context(cafile=Path(tls))
    except OSError as error:
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"ProfileClient: tls: {str(tls)!r} cannot be used: {reason}") from None
