"""``profilekit enrich`` and ``profilekit update INPUT``: lists of users from files, into files."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from profilekit._printable import printable
from profilekit.bulk import Job, Report, look_ahead, run
from profilekit.cli.asking import account_of, asked
from profilekit.cli.frame import Frame
from profilekit.cli.interruption import INTERRUPTED, Interruption
from profilekit.cli.options import given, read_mode, read_rate, request_options
from profilekit.cli.product import print_product
from profilekit.cli.show import Watched, duration, stderr, summary, watched
from profilekit.client import ProfileClient
from profilekit.engine.retry import Retry
from profilekit.errors import ConfigError
from profilekit.live.board import Board
from profilekit.live.sources import Seen
from profilekit.rate import Rate
from profilekit.request import Account, Request
from profilekit.vendors import amplitude, userflux

__all__ = ["enrich", "update_list"]

F = TypeVar("F", bound=Callable[..., Any])

_SOME_FAILED = 3

_GETS: dict[str, type[Request[Any]]] = {"amplitude": amplitude.GetProfile, "userflux": userflux.GetProfile}


def _pairs(_: click.Context, __: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Read FIELD=COLUMN, any number of times."""
    pairs = [text.partition("=")[::2] for text in texts]
    if not all(name and column for name, column in pairs):
        raise click.BadParameter("it is not FIELD=COLUMN")
    columns = {name.replace("-", "_"): column for name, column in pairs}
    if len(columns) < len(pairs):
        raise click.BadParameter("a field is given twice")
    return columns


_SHARED = (
    click.option("--id-column", default="user_id", show_default=True, help="The column that holds the id."),
    click.option(
        "--column",
        "columns",
        multiple=True,
        callback=_pairs,
        metavar="FIELD=COLUMN",
        help="A parameter that each row gives, such as rec_id=rec. Can be given again.",
    ),
    click.option(
        "--rate",
        type=read_rate,
        metavar="REQUESTS/SECONDS",
        help="The quota, such as 600/60; the vendor's own if left out.",
    ),
    click.option(
        "--escape-formulas",
        is_flag=True,
        help="Put ' before CSV cells that a spreadsheet would run as formulas: those that begin with "
        "= + - @, a tab or a line break. Negative numbers are left alone.",
    ),
    click.option("--dry-run", is_flag=True, help="Say how many requests it takes, and how long."),
    click.option("--retry-failed", is_flag=True, help="Send again what failed in an earlier run."),
    click.option("--fresh", is_flag=True, help="Begin anew, whatever an earlier run has left."),
    click.option(
        "--mode",
        type=read_mode,
        metavar="OCTAL",
        default="600",
        show_default=True,
        help="Permissions of the output, such as 640.",
    ),
    click.option("--live", is_flag=True, help="Show what `profilekit top` shows, on a terminal."),
)


def _shared(command: F) -> F:
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command()
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .jsonl, .csv or .parquet file.",
)
@click.option("--vendor", required=True, type=click.Choice(["amplitude", "userflux"]), help="Whom to ask.")
@_shared
@click.option("--prefix", default="", help="What the added columns, profile and error, begin with.")
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="NAME",
    help="A property to be a column, in place of the whole profile. Can be given again.",
)
@request_options(amplitude.GetProfile, skip={"user_id", "device_id"})
def enrich(
    *,
    source: str,
    output: Path,
    vendor: str,
    id_column: str,
    columns: dict[str, str],
    escape_formulas: bool,
    rate: Rate | None,
    dry_run: bool,
    retry_failed: bool,
    fresh: bool,
    live: bool,
    mode: int,
    prefix: str,
    properties: tuple[str, ...],
    **parameters: Any,
) -> int:
    """Add profiles to a list of users.

    INPUT is a file (CSV, TSV, JSONL, Parquet, one id a line; .gz and .zst as they are), or - for
    standard input. The output has one row for each of the input, with the profile, or with the error.
    An id that comes again is fetched once. The options from --get-recs on are for Amplitude.

    However it ends, the same command carries on: what is done is kept in OUTPUT.journal.

    Exit status: 0 when every row has its profile, 3 when some have an error, 130 when it was
    interrupted, 2 when the command, the input or the configuration cannot be used; then nothing is sent.
    """
    job = Job(
        source=source,
        request=_GETS[vendor],
        output=output,
        id_column=id_column,
        columns=columns,
        parameters=_parameters(vendor, parameters),
        properties=properties,
        prefix=prefix,
        escape_formulas=escape_formulas,
        mode=mode,
    )
    account = account_of(vendor, rate)
    return _work(job, account, dry_run=dry_run, retry_failed=retry_failed, fresh=fresh, live=live)


@click.command("update")
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .jsonl, .csv or .parquet file for the rows with what became of each.",
)
@click.option("--vendor", required=True, type=click.Choice(["userflux"]), help="Where to.")
@_shared
def update_list(
    *,
    source: str,
    output: Path | None,
    vendor: str,
    id_column: str,
    columns: dict[str, str],
    escape_formulas: bool,
    rate: Rate | None,
    dry_run: bool,
    retry_failed: bool,
    fresh: bool,
    live: bool,
    mode: int,
) -> int:
    """Set properties of a list of users.

    INPUT is a file (CSV, TSV, JSONL, Parquet; .gz and .zst as they are), or - for standard input.
    Every column but the id's is a property. In a CSV a column of numbers is sent as numbers, one of
    true and false as such, any other as text; empty cells are left out. Rows of one user are sent in
    their order.

    However it ends, the same command carries on: what is done is kept in OUTPUT.journal, or
    INPUT.journal. What was under way is sent again. --retry-failed sends a row again even where a later
    one of the same user has been sent.
    """
    job = Job(
        source=source,
        request=userflux.UpdateProfile,
        output=output,
        id_column=id_column,
        columns=columns,
        rest="properties",
        escape_formulas=escape_formulas,
        mode=mode,
    )
    account = account_of(vendor, rate)
    return _work(job, account, dry_run=dry_run, retry_failed=retry_failed, fresh=fresh, live=live)


def _parameters(vendor: str, parameters: dict[str, Any]) -> dict[str, Any]:
    if vendor == "amplitude":
        return asked(parameters)
    if given(parameters):
        raise click.UsageError(f"--{next(iter(given(parameters))).replace('_', '-')} is for Amplitude")
    return {}


def _work(job: Job, account: Account, *, dry_run: bool, retry_failed: bool, fresh: bool, live: bool) -> int:
    """Run a job, or look ahead, and return the exit status."""
    # A key that may not is an error of the command, and not of every row.
    account.headers(job.request.endpoint)
    if dry_run:
        return asyncio.run(_dry_run(job, account.rate, retry_failed=retry_failed, fresh=fresh))
    with Interruption() as signals:
        return asyncio.run(_run(job, account, signals, retry_failed=retry_failed, fresh=fresh, live=live))


async def _dry_run(job: Job, rate: Rate, *, retry_failed: bool, fresh: bool) -> int:
    ahead = await look_ahead(job, retry_failed=retry_failed, fresh=fresh)
    earlier = f", {ahead.done} done before ({ahead.failed} of them failed)" if ahead.done else ""
    print_product(
        f"{ahead.rows} rows, {ahead.bad} of them bad: {ahead.requests} requests of {job.title}{earlier}; "
        f"at {rate.requests} in {rate.per:g} s that takes {duration(ahead.requests / rate.per_second)}"
    )
    if job.output is not None:
        print_product(printable(f"{ahead.rows} rows would be in {job.output}"))
    return 0


async def _run(
    job: Job, account: Account, signals: Interruption, *, retry_failed: bool, fresh: bool, live: bool
) -> int:
    board = Board() if live else None
    view = None if board is None else lambda: Frame([Seen(job.title, board.snapshot(), None)])
    # Setting the same values twice is the same as once.
    async with ProfileClient(account, retry=Retry(repeat_writes=True), observer=board) as client:
        watch = Watched(account.vendor.name, account.vendor.name, account.rate, client)
        try:
            stop = _stopped_by(signals, watch)
            async with watched(watch, view=view):
                report = await run(
                    job, client, retry_failed=retry_failed, fresh=fresh, progress=watch.progress, stop=stop
                )
        except ConfigError:
            raise
        except BaseException:
            if watch.progress.phase != "reading":
                _say_how_to_go_on(job, fresh=fresh)
            raise
    where = f"{report.rows} rows in {job.output}" if job.output else f"{report.rows} rows"
    title = where if report.is_complete else "Interrupted"
    stderr().print(summary(printable(title), [(watch.name, report, watch.seconds, account.rate)]))
    return _status(report, job, fresh=fresh)


def _say(text: str) -> None:
    click.echo(printable(text), err=True)


def _stopped_by(signals: Interruption, watch: Watched) -> asyncio.Event:
    """Return an event that the first signal sets; later ones, and those while nothing is sent, cancel."""
    stop, task = asyncio.Event(), asyncio.current_task()

    def interrupt() -> None:
        if stop.is_set() or watch.progress.phase != "sending":
            if task is not None:
                task.cancel()
            return
        stop.set()
        click.echo("\nFinishing what is under way; Ctrl-C again ends it now.", err=True)

    signals.lead_to(interrupt)
    return stop


def _say_how_to_go_on(job: Job, *, fresh: bool) -> None:
    without = ", without --fresh," if fresh else ""
    _say(f"What is done is kept in {job.journal}: the same command{without} carries on.")


def _status(report: Report, job: Job, *, fresh: bool) -> int:
    if not report.is_complete:
        _say_how_to_go_on(job, fresh=fresh)
        return INTERRUPTED
    if report.journal is not None:
        _say(f"The failures are kept in {report.journal}: --retry-failed sends them again.")
    return _SOME_FAILED if report.failed else 0
