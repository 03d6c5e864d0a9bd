"""The other side: answers as fast as it can, in a process of its own, and checks nothing but the id."""

import asyncio
import re
import sys

USER = re.compile(rb"user_id=([^ &]+)")
OK = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
    b"Content-Length: %d\r\n\r\n%b"
)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def body_of(size: int) -> bytes:
    """Return an answer of Amplitude's of about so many bytes, with a hole for the id."""
    head = b'{"userData":{"user_id":"%b","cohort_ids":["c1","c2","c3"],"amp_props":{'
    properties = []
    while sum(map(len, properties)) + len(properties) + len(head) < size:
        properties.append(b'"property_%d":"value %d"' % (len(properties), len(properties) * 7919 % 1000))
    return head + b",".join(properties) + b"}}}"


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


async def main(size: int) -> None:
    body = body_of(size)
    server = await asyncio.get_running_loop().create_server(lambda: Answering(body), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
