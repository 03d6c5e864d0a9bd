"""The least that a connection takes: a buffer of its own, a C parser, one future."""

import asyncio
import ssl
from urllib.parse import urlsplit

import httptools


class Line(asyncio.BufferedProtocol):
    def __init__(self):
        self.view, self.body = memoryview(bytearray(32768)), []
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, _):
        return self.view

    def buffer_updated(self, size):
        self.parser.feed_data(self.view[:size])

    def on_body(self, body):
        self.body.append(body)

    def on_message_complete(self):
        body, self.body = b"".join(self.body), []
        self.future.set_result(body)


async def dialled(url, count):
    """Return so many connections to a URL, over TLS if it says so."""
    to, loop = urlsplit(url), asyncio.get_running_loop()
    tls = ssl.create_default_context() if to.scheme == "https" else None
    return [(await loop.create_connection(Line, to.hostname, to.port, ssl=tls))[1] for _ in range(count)]
