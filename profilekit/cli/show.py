"""What a person sees while a list is worked on, and after."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from profilekit.rate import Rate

__all__ = ["Tally", "stderr", "summary", "tracked"]

_LINES = 10


def stderr() -> Console:
    """Return a console on standard error, as it is now."""
    return Console(stderr=True, highlight=False)


class Tally:
    """Counts what came of a list.

    Attributes:
        name: What the list is.
        quota: The quota that it was sent within.
        succeeded: How many came out well.
        failed: How many did not, by the name of the error.
        requests: Requests sent for it, retries included, once it is over.
        seconds: How long it took, once it is over.
    """

    def __init__(self, name: str, total: int, quota: Rate) -> None:
        """Start the clock."""
        self.name, self.total, self.quota = name, total, quota
        self.succeeded = 0
        self.failed: Counter[str] = Counter()
        self.requests = 0
        self.seconds = 0.0
        self._began = time.perf_counter()

    @property
    def done(self) -> int:
        """How many are through."""
        return self.succeeded + self.failed.total()

    def count(self, error: Exception | None) -> None:
        """Count one."""
        if error is None:
            self.succeeded += 1
        else:
            self.failed[type(error).__name__] += 1

    def finish(self, requests: int) -> None:
        """Stop the clock."""
        self.requests = requests
        self.seconds = time.perf_counter() - self._began

    @property
    def rate(self) -> float:
        """Requests a second, retries included."""
        return self.requests / self.seconds if self.seconds else 0.0


class Track(Protocol):
    """Shows that a tally has changed."""

    def __call__(self, tally: Tally) -> None:
        """Show it."""


@contextmanager
def tracked(*tallies: Tally) -> Iterator[Track]:
    """Show progress: bars on a terminal, plain lines elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield _plain_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = {id(tally): progress.add_task(tally.name, total=tally.total, note="") for tally in tallies}

        def move(tally: Tally) -> None:
            _move(progress, bars[id(tally)], tally)

        yield move


def _move(progress: Progress, bar: TaskID, tally: Tally) -> None:
    speed = progress.tasks[bar].speed or 0.0
    note = f"{speed:.0f}/s of {tally.quota.per_second:g}/s, {tally.failed.total()} failed"
    progress.update(bar, completed=tally.done, note=note)


def _plain_line(tally: Tally) -> None:
    step = max(1, tally.total // _LINES)
    if tally.done % step == 0 or tally.done == tally.total:
        sys.stderr.write(f"{tally.name}: {tally.done} of {tally.total}, {tally.failed.total()} failed\n")


def summary(title: str, tallies: list[Tally]) -> Table:
    """Return a table of what came of lists."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("step")
    for heading in ("profiles", "failed", "seconds", "rate of quota"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("failures", min_width=26, overflow="fold")
    for tally in tallies:
        table.add_row(
            tally.name,
            str(tally.succeeded),
            str(tally.failed.total()),
            f"{tally.seconds:.1f}",
            # Within a moment there is no rate to speak of.
            f"{tally.rate:.0f} of {tally.quota.per_second:g}/s" if tally.seconds >= 1 else "-",
            "\n".join(f"{count} {name}" for name, count in tally.failed.most_common()),
        )
    return table
