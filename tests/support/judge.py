"""A vendor that only counts: when each request arrived, and from which process, in a process of its own."""

import asyncio
import json
import os
import sys
import time
from contextlib import suppress

BODY = b'{"userData":{}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n"


class Judge(asyncio.Protocol):
    """Answers requests whose head comes in one piece; what stands before a dash in an id says who asks."""

    arrivals = []  # noqa: RUF012 - one of all connections
    refusing = []  # noqa: RUF012 - as above

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        now = time.monotonic()
        target = data.split(b" ", 2)[1].decode()
        if target == "/_arrivals":
            arrivals, self.arrivals[:] = list(self.arrivals), []
            body = json.dumps(arrivals).encode()
            self.transport.write(OK % (len(body), body))
        elif target.startswith("/_refuse/"):
            self.refusing.append(int(target.rpartition("/")[2]))
            self.transport.write(OK % (0, b""))
        else:
            self.arrivals.append((now, target.partition("user_id=")[2].partition("-")[0]))
            answer = REFUSED % self.refusing.pop() if self.refusing else OK % (len(BODY), BODY)
            self.transport.write(answer)


def go_first():
    """Have every arrival seen at once, however busy the machine is, where that is allowed."""
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


async def main():
    go_first()
    server = await asyncio.get_running_loop().create_server(Judge, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
