"""A command in a terminal of its own, and what it draws there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress

# What moves the cursor, colours, clears: all that is no text.
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\r")


class Terminal:
    """The other end of a terminal in which a command runs."""

    def __init__(self, end, process, settings):
        self._end, self.process, self._settings = end, process, settings
        self.drawn = b""

    @property
    def text(self):
        return CONTROL.sub("", self.drawn.decode(errors="replace"))

    def until(self, wanted):
        """Read on until something is drawn after what was waited for before."""
        after = len(self.text)
        while wanted not in self.text[after:]:
            assert self._read(), f"it ended without {wanted!r}: {self.text}"

    def press(self, key):
        os.write(self._end, key)

    def hang_up(self):
        """Take the terminal away."""
        os.close(self._end)

    def ended(self):
        """Read to the end, and return the status."""
        while self._read():
            pass
        return self.process.wait()

    def _read(self):
        assert select.select([self._end], [], [], 60)[0], f"it says nothing more: {self.text}"
        try:
            more = os.read(self._end, 65_536)
        except OSError:
            # Linux says so when the command is gone.
            return False
        self.drawn += more
        return bool(more)

    @property
    def is_as_before(self):
        return termios.tcgetattr(self._end) == self._settings


@contextmanager
def in_terminal(*arguments, columns=80, lines=40, **options):
    """Run the command line in a terminal of that size."""
    end, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    settings = termios.tcgetattr(end)
    environ = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        # -P, so that what is installed is run. Ctrl-C reaches whom the terminal belongs to.
        [sys.executable, "-P", "-c", OWN, *map(str, arguments)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environ, "TERM": "xterm-256color"},
        start_new_session=True,
        **options,
    )
    # So that there is an end when the command has ended.
    os.close(theirs)
    try:
        yield Terminal(end, process, settings)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        with suppress(OSError):
            os.close(end)


OWN = """
import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("profilekit", run_name="__main__", alter_sys=True)
"""
