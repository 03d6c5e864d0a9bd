"""A live view as it is drawn: what was found at some paths, as lines of text."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from profilekit._printable import printable
from profilekit.cli.show import duration
from profilekit.live.snapshot import AccountState, JobState, OutboxState, Snapshot
from profilekit.live.sources import Seen
from profilekit.live.together import Total, current, minute_of, speed_of, totals

__all__ = ["Frame"]

_BAR = 20
_SPARK = 60
_PATH = 30
_INDENT = "  "
_MOST_SHOWN = 99.99

# How many kinds of errors there is room for.
_KINDS = 4


class Signs(msgspec.Struct, frozen=True):
    """What bars and sparklines are drawn with."""

    full: str
    empty: str
    heights: str

    def bar(self, part: float) -> str:
        """Draw a part of a whole."""
        filled = round(min(1.0, part) * _BAR)
        return self.full * filled + self.empty * (_BAR - filled)

    def spark(self, counts: Sequence[int], width: int) -> str:
        """Draw counts as a line of so many signs at most, the newest at its end."""
        each = -(-len(counts) // max(1, width))
        if not counts or width < 1:
            return ""
        # From the end, so that no second changes its place before there are too many.
        cells = [sum(counts[max(0, end - each) : end]) for end in range(len(counts), 0, -each)][::-1]
        top = max(1, *cells)
        return "".join(self.heights[round(cell / top * (len(self.heights) - 1))] for cell in cells)


_BLOCKS = Signs("█", "░", "▁▂▃▄▅▆▇█")
_ASCII = Signs("#", ".", "_.-=+*%#")


class Frame:
    """Draws what was found."""

    def __init__(self, seen: Sequence[Seen], *, now: float | None = None) -> None:
        """Take what was found, and the time, as Unix time."""
        self._seen, self._now = seen, time.time() if now is None else now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it in the width that there is."""
        signs = _ASCII if options.ascii_only else _BLOCKS
        for line in self._lines(signs, options.max_width):
            line.no_wrap, line.overflow = True, "ellipsis"
            if options.ascii_only:
                line.plain, line.overflow = line.plain.encode("ascii", "replace").decode(), "crop"
            yield line

    def _lines(self, signs: Signs, width: int) -> Iterator[Text]:
        for seen in self._seen:
            yield _source(seen, self._now)
        named = {seen.path: current(seen.snapshot, self._now) for seen in self._seen if seen.snapshot}
        snapshots = list(named.values())
        for total in totals(snapshots):
            yield Text()
            yield from _account(total, signs, width)
            if len(snapshots) > 1:
                yield from _each(total.vendor, named)
        yield from _outboxes([outbox for each in snapshots for outbox in each.outboxes])
        yield from _jobs([job for each in snapshots for job in each.jobs], signs, width)


# ---- where it comes from ---------------------------------------------------------------------------


def _source(seen: Seen, now: float) -> Text:
    line = Text(_short(seen.path), "bold")
    if seen.problem is not None:
        line.append(f"  {printable(seen.problem)}", "red")
    if seen.snapshot is not None:
        line.append(f"  {_process(seen.snapshot, now)}", "not bold")
    return line


def _short(path: str) -> str:
    """Return the end of a path, so that there is room for what is said of it."""
    text = printable(path)
    return text if len(text) <= _PATH else f"…{text[1 - _PATH :]}"


def _process(snapshot: Snapshot, now: float) -> str:
    ran = duration(max(0.0, snapshot.written - snapshot.began))
    ended = f", ended {duration(max(0.0, now - snapshot.written))} ago" if snapshot.has_ended else ""
    return f"process {snapshot.pid} on {printable(snapshot.host)}, {ran}{ended}"


# ---- accounts --------------------------------------------------------------------------------------


def _account(total: Total, signs: Signs, width: int) -> Iterator[Text]:
    transports = ", ".join(sorted({printable(account.transport) for account in total.accounts}))
    yield Text.assemble((printable(total.vendor), "bold"), f"  {_quota(total.open)}  {transports}")
    if total.open:
        speed = speed_of(total.minute)
        part = speed / total.limit if total.limit else 0.0
        line = Text(
            f"{_INDENT}{signs.bar(part)} {_percent(part)}  {_rate(speed)} of {_rate(total.limit)}/s  "
        )
        line.stylize("green", len(_INDENT), len(_INDENT) + _BAR)
        yield line.append(signs.spark(total.minute, min(_SPARK, width - line.cell_len)), "cyan")
    yield _now_line(total)
    yield _counts_line(total)
    if total.failed:
        yield Text(f"{_INDENT}{_errors(total.failed)}", "yellow")


def _quota(accounts: Iterable[AccountState]) -> str:
    """Say which quotas there are, each once."""
    kinds: dict[str, int] = {}
    for account in accounts:
        share = f", {account.share:.0%} of it" if account.share < 1 else ""
        kind = f"{account.requests:,} in {account.per:g} s, {printable(account.quota)}{share}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return "; ".join(f"{count} x {kind}" if count > 1 else kind for kind, count in kinds.items()) or "closed"


def _now_line(total: Total) -> Text:
    line = Text(
        f"{_INDENT}queue {total.now('queue'):,}  in flight {total.now('in_flight'):,}"
        f"  p50 {_took(total.p50)}  p99 {_took(total.p99)}  breaker "
    )
    return line.append("OPEN: taken to be down", "bold red") if total.is_down else line.append("closed")


def _counts_line(total: Total) -> Text:
    counts = {
        "sent": total.sum("sent"),
        "ok": total.sum("succeeded"),
        "failed": total.failed.total(),
        "retries": total.sum("retries"),
        "cached": total.sum("cache_hits"),
        "coalesced": total.sum("coalesced"),
        "fenced": total.sum("fenced"),
    }
    return Text(_INDENT + "  ".join(f"{name} {count:,}" for name, count in counts.items()))


def _each(vendor: str, named: Mapping[str, Snapshot]) -> Iterator[Text]:
    """Show what each process has of a vendor."""
    for path, snapshot in named.items():
        for total in totals([snapshot]):
            if total.vendor == vendor:
                figures = (
                    f"{_rate(speed_of(total.minute))}/s  queue {total.now('queue'):,}"
                    f"  in flight {total.now('in_flight'):,}  p99 {_took(total.p99)}"
                )
                yield Text(f"{_INDENT}{_short(path)}  {figures}", "dim")


# ---- outboxes and jobs -----------------------------------------------------------------------------


def _outboxes(outboxes: Sequence[OutboxState]) -> Iterator[Text]:
    for outbox in outboxes:
        yield Text()
        yield Text.assemble(
            ("outbox ", "bold"), (printable(outbox.name), "bold"), "" if outbox.is_open else "  closed"
        )
        yield _waiting([outbox])
        if outbox.held is not None:
            yield Text(f"{_INDENT}held: {printable(outbox.held)}", "bold red")
    if len(outboxes) > 1:
        yield Text()
        yield Text("all outboxes", "bold")
        yield _waiting(outboxes)


def _waiting(outboxes: Sequence[OutboxState]) -> Text:
    oldest = max((outbox.oldest for outbox in outboxes if outbox.oldest is not None), default=None)
    pending, in_flight, delivered, dead = (
        sum(getattr(outbox, field) for outbox in outboxes)
        for field in ("pending", "in_flight", "delivered", "dead")
    )
    line = Text(
        f"{_INDENT}pending {pending:,}  oldest {'-' if oldest is None else duration(oldest)}"
        f"  in flight {in_flight:,}  delivered {delivered:,}  "
    )
    return line.append(f"dead letters {dead:,}", "bold yellow" if dead else "")


def _jobs(jobs: Sequence[JobState], signs: Signs, width: int) -> Iterator[Text]:
    for job in jobs:
        yield Text()
        ended = "done" if job.done >= job.total else "stopped"
        yield Text.assemble(
            (f"job {printable(job.name)}", "bold"), f"  {printable(job.phase) if job.is_open else ended}"
        )
        yield _progress([job], signs, width)
        if job.failed:
            yield Text(f"{_INDENT}{_errors(job.failed)}", "yellow")
    if len(jobs) > 1:
        yield Text()
        yield Text("all jobs", "bold")
        yield _progress(jobs, signs, width)


def _phase(job: JobState) -> str:
    if job.is_open:
        return printable(job.phase)
    return "done" if job.done >= job.total else "stopped"


def _progress(jobs: Sequence[JobState], signs: Signs, width: int) -> Text:
    done, total = sum(job.done for job in jobs), sum(job.total for job in jobs)
    minute = minute_of(job.minute for job in jobs if job.is_open)
    part = done / total if total else 0.0
    line = Text(f"{_INDENT}{signs.bar(part)} {_percent(part)}  {done:,} of {total:,}  ")
    line.stylize("green", len(_INDENT), len(_INDENT) + _BAR)
    if minute:
        speed = sum(minute) / len(minute)
        left = f", {duration((total - done) / speed)} left" if speed and done < total else ""
        line.append(f"{_rate(speed)}/s{left}  ")
    return line.append(signs.spark(minute, min(_SPARK, width - line.cell_len)), "cyan")


# ---- figures ---------------------------------------------------------------------------------------


def _errors(failed: Mapping[str, int]) -> str:
    ranked = sorted(failed.items(), key=lambda item: -item[1])
    more = f", {len(ranked) - _KINDS} more kinds" if len(ranked) > _KINDS else ""
    return ", ".join(f"{count:,} {printable(name)}" for name, count in ranked[:_KINDS]) + more


def _percent(part: float) -> str:
    # A file may claim any speed; a longer number would push out what follows.
    return f"{min(part, _MOST_SHOWN):4.0%}"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def _took(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:.0f} ms"
