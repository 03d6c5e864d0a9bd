"""The other side: answers as fast as it can, in a process of its own, and looks at nothing but the id."""

import asyncio
import re
import ssl
import sys

from benchmarks import bodies

USER = re.compile(rb"user_id=([^ &]+)")
OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


class Answering(asyncio.Protocol):
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (end := data.find(b"\r\n\r\n") + 4) > 3:
            head = data[:end]
            if head.startswith(b"POST"):
                length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
                if len(data) < end + length:
                    break
                end += length
                self._transport.write(NO_CONTENT)
            else:
                body = self._body.replace(b"%b", USER.search(head)[1], 1)
                self._transport.write(OK % (len(body), body))
            data = data[end:]
        self._rest = data


async def main(size: str, certificate: str | None = None) -> None:
    body = bodies.amplitude(int(size))
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(lambda: Answering(body), "127.0.0.1", 0, ssl=tls)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
