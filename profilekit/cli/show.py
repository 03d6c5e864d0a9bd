"""What a person sees while a list is worked on, and after."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from profilekit.bulk import Progress, Report
from profilekit.client import ProfileClient
from profilekit.rate import Rate

__all__ = ["Watched", "duration", "stderr", "stdout", "summary", "watched"]

# Text from outside must not be read as markup or emoji codes.
_console = partial(Console, highlight=False, markup=False, emoji=False)

_EVERY = 0.2
_LINES = 10

# Before that, what was reached says little of what will be.
_SETTLED = 10.0


def stderr() -> Console:
    """Return a console on standard error, as it is now."""
    return _console(stderr=True)


def stdout() -> Console:
    """Return a console on standard output, as it is now."""
    return _console()


class Watched:
    """A job that is watched.

    Attributes:
        name: What the job is called.
        progress: How far it has come.
        quota: The quota that it is sent within.
    """

    def __init__(self, name: str, vendor: str, quota: Rate, client: ProfileClient) -> None:
        """Start the clock."""
        self.name, self.quota, self.progress = name, quota, Progress()
        self._vendor, self._client = vendor, client
        self._began = time.perf_counter()
        self._began_with = 0
        self._phase = self.progress.phase

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.perf_counter() - self._began

    def note(self) -> str:
        """Say how fast it goes, what failed, and when it will be over."""
        if self.progress.phase != "sending":
            return self.progress.phase
        if self._phase != "sending":
            self._phase, self._began_with = "sending", self.progress.done
        stats = self._client.stats().vendors[self._vendor]
        quota = self.quota.per_second * stats.share
        failed = ", ".join(f"{count} {name}" for name, count in self.progress.failed.most_common(3))
        reached = (self.progress.done - self._began_with) / max(self.seconds, 0.1)
        speed = min(quota, reached) if self.seconds > _SETTLED and reached else quota
        left = (self.progress.total - self.progress.done) / speed
        down = "the vendor is down, " if stats.breaker == "open" else ""
        return f"{down}{reached:.0f}/s of {quota:g}/s, {failed or 'none failed'}, {duration(left)} left"


def duration(seconds: float) -> str:
    """Say how long something takes: ``0:12``, ``1:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@asynccontextmanager
async def watched(*jobs: Watched, view: Callable[[], RenderableType] | None = None) -> AsyncIterator[None]:
    """Show progress: bars on a terminal, or a view of the caller's own; plain lines elsewhere."""
    console = stderr()
    bars = _bars(console, jobs) if view is None else _views(console, view)
    with bars if console.is_terminal else _lines(jobs) as show:
        showing = asyncio.create_task(_show(show))
        try:
            yield
        finally:
            showing.cancel()
            await asyncio.wait([showing])
            show()


async def _show(show: Callable[[], None]) -> None:
    while True:
        show()
        await asyncio.sleep(_EVERY)


@contextmanager
def _bars(console: Console, jobs: tuple[Watched, ...]) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Bars(*columns, console=console) as bars:
        tasks = [bars.add_task(job.name, total=None, note="") for job in jobs]

        def show() -> None:
            for job, task in zip(jobs, tasks, strict=True):
                total = job.progress.total or None
                bars.update(task, completed=job.progress.done, total=total, note=job.note())

        yield show


@contextmanager
def _views(console: Console, view: Callable[[], RenderableType]) -> Iterator[Callable[[], None]]:
    with Live(view(), console=console, auto_refresh=False) as live:
        yield lambda: live.update(view(), refresh=True)


@contextmanager
def _lines(jobs: tuple[Watched, ...]) -> Iterator[Callable[[], None]]:
    shown = dict.fromkeys(jobs, 0)

    def show() -> None:
        for job in jobs:
            done, total = job.progress.done, job.progress.total
            tenth = done * _LINES // total if total else 0
            if tenth > shown[job]:
                shown[job] = tenth
                sys.stderr.write(f"{job.name}: {done} of {total}, {job.progress.failed.total()} failed\n")

    yield show


def summary(title: str, done: list[tuple[str, Report, float, Rate]]) -> Table:
    """Return a table of what came of jobs: the name of each, its report, seconds, and quota."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("step")
    for heading in ("done", "failed", "seconds", "rate of quota"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("failures", min_width=26, overflow="fold")
    for name, report, seconds, quota in done:
        failures = sorted(report.failed.items(), key=lambda item: -item[1])
        table.add_row(
            name,
            str(report.succeeded),
            str(sum(report.failed.values())),
            f"{seconds:.1f}",
            # Within a moment there is no rate to speak of.
            f"{report.sent / seconds:.0f} of {quota.per_second:g}/s" if seconds >= 1 else "-",
            "\n".join(f"{count} {kind}" for kind, count in failures),
        )
    return table
