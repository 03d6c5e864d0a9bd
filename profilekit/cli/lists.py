"""``profilekit enrich``: a list of users from a file into a file."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from pathlib import Path
from typing import Any

import click

from profilekit.bulk import Table, open_sink, open_table
from profilekit.bulk import enrich as enrich_rows
from profilekit.cli.asking import account_of, asked
from profilekit.cli.options import given, read_rate, request_options
from profilekit.cli.show import Tally, Track, stderr, summary, tracked
from profilekit.client import ProfileClient
from profilekit.rate import Rate
from profilekit.request import Request
from profilekit.vendors import amplitude, userflux

__all__ = ["enrich", "enrich_into"]


@click.command()
@click.argument("source", metavar="INPUT")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .jsonl or .csv file.",
)
@click.option("--vendor", required=True, type=click.Choice(["amplitude", "userflux"]), help="Whom to ask.")
@click.option("--id-column", default="user_id", show_default=True, help="The column that holds the user id.")
@click.option("--prefix", default="", help="What the added columns, profile and error, begin with.")
@click.option(
    "--rate",
    type=read_rate,
    metavar="REQUESTS/SECONDS",
    help="The quota, such as 600/60; the vendor's own if left out.",
)
@request_options(amplitude.GetProfile, skip={"user_id", "device_id"})
def enrich(
    *,
    source: str,
    output: Path,
    vendor: str,
    id_column: str,
    prefix: str,
    rate: Rate | None,
    **parameters: Any,
) -> int:
    """Add profiles to a list of users.

    INPUT is a CSV or JSONL file, a file of one id a line, or - for standard input. The output has one
    row for each of the input, with the profile, or with the error. An id that comes again is fetched
    once. The options from --get-recs on are for Amplitude.

    Exit status: 0 when every row has its profile, 3 when some have an error, 2 when the command, the
    input or the configuration cannot be used; then nothing is sent.
    """
    account = account_of(vendor, rate)
    ask = _asker(vendor, parameters)
    # A key that may not read is an error of the command, and not of every row.
    account.headers(ask("anybody").endpoint)
    with _as_file(source) as path:
        table = open_table(path, id_column)
        tally = Tally(vendor, table.rows, account.rate)

        async def work() -> None:
            async with ProfileClient(account) as client:
                with tracked(tally) as show:
                    await enrich_into(output, client, table, ask, tally=tally, show=show, prefix=prefix)

        asyncio.run(work())
    stderr().print(summary(f"{table.rows} rows in {output}", [tally]))
    # As the exit status: some rows came out with an error.
    return 3 if tally.failed else 0


async def enrich_into(
    output: Path,
    client: ProfileClient,
    table: Table,
    ask: Callable[[str], Request[Any]],
    *,
    tally: Tally,
    show: Track,
    prefix: str = "",
) -> None:
    """Enrich a table into a file, and count and show it on the way."""
    before = client.stats().vendors[tally.name].sent
    with open_sink(output, table.columns, prefix=prefix) as write:
        async with aclosing(enrich_rows(client, table, ask)) as rows:
            async for row in rows:
                write(row)
                tally.count(row.error)
                show(tally)
    tally.finish(client.stats().vendors[tally.name].sent - before)


def _asker(vendor: str, parameters: dict[str, Any]) -> Callable[[str], Request[Any]]:
    if vendor == "userflux":
        if given(parameters):
            raise click.UsageError(f"--{next(iter(given(parameters))).replace('_', '-')} is for Amplitude")
        return userflux.GetProfile
    named = asked(parameters)
    return lambda user_id: amplitude.GetProfile(user_id, **named)


@contextmanager
def _as_file(source: str) -> Iterator[Path]:
    """Return the path of a file that can be read again: standard input and pipes are copied."""
    path = Path(source)
    if source != "-" and (path.is_file() or path.is_dir() or not path.exists()):
        yield path
        return
    with ExitStack() as stack:
        copy = stack.enter_context(tempfile.NamedTemporaryFile(prefix="profilekit-"))
        shutil.copyfileobj(sys.stdin.buffer if source == "-" else stack.enter_context(path.open("rb")), copy)
        copy.flush()
        yield Path(copy.name)
