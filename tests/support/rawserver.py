"""A loopback server that sends exactly the bytes it is told, and shows what it got."""

import asyncio
from contextlib import asynccontextmanager


class RawServer:
    def __init__(self):
        self.received = []
        self.connections = 0
        self.url = ""


@asynccontextmanager
async def raw_server(script, *, ssl=None):
    """Serve ``script(server, reader, writer)`` on every connection."""
    server = RawServer()
    tasks = set()

    async def handle(reader, writer):
        server.connections += 1
        tasks.add(asyncio.current_task())
        try:
            await script(server, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl)
    host, port = listener.sockets[0].getsockname()[:2]
    server.url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(server, reader):
    """Read one request, head and body, and remember it."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = await reader.readexactly(length)
    server.received.append(head + body)
    return head, body


def saying(*answers):
    """Return a script that answers the requests of all connections with these bytes in turn."""
    left = list(answers)

    async def script(server, reader, writer):
        while True:
            await read_request(server, reader)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()

    return script


def ok(body, *headers):
    head = "\r\n".join(
        ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Content-Type: application/json", *headers]
    )
    return head.encode() + b"\r\n\r\n" + body
