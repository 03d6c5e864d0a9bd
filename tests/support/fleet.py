"""Processes that share a quota, the Redis that keeps it, and the judge that counts what arrives."""

import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path

from clock import most_in_window
from redises import RedisServer

SUPPORT = Path(__file__).parent


class Fleet:
    """A context manager; every process of it is gone at the end."""

    def __init__(self, folder, rate):
        self.rate, self.redis = rate, RedisServer(folder)
        self.sharers, self.arrivals = {}, []

    def __enter__(self):
        self.redis.start()
        command = [sys.executable, "-P", SUPPORT / "judge.py"]
        self.judge = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.judge.stdout.readline().strip()}"
        return self

    def __exit__(self, *error):
        for name in tuple(self.sharers):
            self.kill(name)
        self.judge.kill()
        self.judge.communicate()
        self.redis.kill()

    def add(self, *names, **options):
        """Start processes, and return when they are ready to send."""
        for name in names:
            command = [sys.executable, "-P", SUPPORT / "sharer.py", name, self.url, self.redis.url]
            self.sharers[name] = subprocess.Popen(
                [*command, str(self.rate), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        for name in names:
            assert self.sharers[name].stdout.readline() == "ready\n", self.sharers[name].stderr.read()

    def kill(self, name):
        sharer = self.sharers.pop(name)
        sharer.kill()
        sharer.communicate()

    def end(self, name):
        """End a process well; return what it has to say, and its log."""
        out, err = self.sharers.pop(name).communicate(timeout=60)
        return json.loads(out), err.splitlines()

    def ask(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.loads(answer.read() or "null")

    def watch(self, windows):
        """Let so many windows pass; return what arrived in them: when, and from whom."""
        end = time.monotonic() + windows * self.rate.per
        seen = []
        while time.monotonic() < end:
            time.sleep(min(0.2, self.rate.per))
            seen += map(tuple, self.ask("/_arrivals"))
        self.arrivals += seen
        return Seen(seen, self.rate)

    def until_steady(self):
        """Let the first windows pass, in which a new server has little to go by."""
        self.watch(2 + 2.5 / self.rate.per)

    @property
    def all(self):
        return Seen(self.arrivals, self.rate)


class Seen:
    """What a judge makes of arrivals."""

    def __init__(self, arrivals, rate):
        self.times, self.rate = sorted(time for time, _ in arrivals), rate
        self.by_process = Counter(name for _, name in arrivals)

    @property
    def most(self):
        """The most that any window held."""
        return most_in_window(self.times, self.rate.per)

    @property
    def used(self):
        """The part of the quota that was used."""
        return (len(self.times) - 1) / ((self.times[-1] - self.times[0]) * self.rate.per_second)
