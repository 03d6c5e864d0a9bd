"""``profilekit top``: what a running service or job writes of itself, live in the terminal."""

import glob
import json
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

import click
import msgspec
from rich.console import Console
from rich.live import Live as Screen

from profilekit.cli.frame import Frame
from profilekit.cli.product import print_product
from profilekit.live.sources import Seen, Source

__all__ = ["top"]

_EVERY = 0.5

# Whoever serves a socket says something every second.
_PATIENCE = 3.0
_AGAIN = 0.05


class _Paths:
    """Paths, and patterns of paths: what they mean may change while one looks."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._sources: dict[str, Source] = {}

    def read(self) -> list[Seen]:
        """Return what there is to be seen."""
        paths = dict.fromkeys(path for pattern in self._patterns for path in _meant(pattern))
        for gone in self._sources.keys() - paths.keys():
            self._sources.pop(gone).close()
        return [self._sources.setdefault(path, Source(path)).read() for path in paths]

    def read_well(self) -> list[Seen]:
        """Return what there is to be seen, once all who serve a socket have said something."""
        until = time.monotonic() + _PATIENCE
        seen = self.read()
        while any(source.is_silent for source in self._sources.values()) and time.monotonic() < until:
            time.sleep(_AGAIN)
            seen = self.read()
        return seen


def _meant(pattern: str) -> list[str]:
    """Return the paths that a pattern means; itself where there are none."""
    prefix = "unix:" if pattern.startswith("unix:") else ""
    # Path.glob takes no pattern that begins at the root.
    found = sorted(glob.iglob(pattern.removeprefix(prefix)))  # noqa: PTH207
    return [prefix + path for path in found] or [pattern]


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--once", is_flag=True, help="Print how it stands, as plain text, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print what was read, one JSON object a line, and end.")
def top(paths: tuple[str, ...], *, once: bool, as_json: bool) -> int:
    """Look at services and jobs at work.

    PATH is what one of them writes to: ProfileClient(observer=Live(PATH)) of profilekit.live. Several are
    shown together, with their sums, and so is a pattern such as '/run/my-*.stats'. What is not there yet is
    waited for. Ctrl-C ends it.

    Exit status of --once and --json: 0, or 1 where there is nothing new from one of them.
    """
    sources = _Paths(paths)
    if as_json:
        return _print(sources.read_well())
    if once or not sys.stdout.isatty():
        seen = sources.read_well()
        # Without a terminal there are no colours, and nothing that moves.
        console = Console(force_terminal=False, no_color=True, highlight=False)
        with console.capture() as drawn:
            console.print(Frame(seen))
        print_product(drawn.get().removesuffix("\n").encode(console.encoding, "replace"))
        return _status(seen)
    # Whoever ends it otherwise wants the terminal back, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        _show(sources)
    return 0


def _show(sources: _Paths) -> None:
    with Screen(Frame(sources.read()), screen=True, auto_refresh=False) as screen:
        while True:
            screen.update(Frame(sources.read()), refresh=True)
            time.sleep(_EVERY)


def _print(seen: Sequence[Seen]) -> int:
    for each in seen:
        if each.snapshot is not None:
            # In ASCII: what came from outside could drive a terminal.
            print_product(json.dumps(msgspec.to_builtins(each.snapshot)).replace("\x7f", "\\u007f"))
        if each.problem is not None:
            click.echo(json.dumps(f"{each.path}: {each.problem}"), err=True)
    return _status(seen)


def _status(seen: Sequence[Seen]) -> int:
    return 1 if any(each.problem is not None for each in seen) else 0
