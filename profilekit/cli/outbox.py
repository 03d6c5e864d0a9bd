"""``profilekit outbox``: what waits in the file of an outbox, and what to do with what was refused."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from profilekit.cli.product import print_product
from profilekit.outbox import letters

__all__ = ["outbox"]

_FILE = click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_SEQS = click.argument("seqs", metavar="[SEQ]...", nargs=-1, type=int)
_ALL = click.option("--all", "everything", is_flag=True, help="All dead letters.")


@click.group()
def outbox() -> None:
    """See what waits in the file of an outbox, and retry or drop what the vendor refused.

    An outbox may have the file open meanwhile.
    """


@outbox.command("status")
@_FILE
def show_status(path: Path) -> None:
    """Count what a file holds and what has been done since it was made, as JSON.

    "oldest" is how many seconds ago the oldest write that waits was put.
    """
    found = letters.status(path)
    age = None if found.oldest is None else round(max(0.0, time.time() - found.oldest), 3)
    _print({**msgspec.structs.asdict(found), "oldest": age}, indent=2)


@outbox.command("list")
@_FILE
@click.option("--pending", is_flag=True, help="What waits for delivery, in place of dead letters.")
@click.option("--limit", type=click.IntRange(min=1), help="So many at most, the oldest first.")
def show_list(path: Path, *, pending: bool, limit: int | None) -> None:
    """List dead letters, one JSON object a line: what it is about and why it was refused."""
    for letter in (letters.pending if pending else letters.dead)(path, limit):
        _print(_record(letter))


@outbox.command()
@_FILE
@_SEQS
@_ALL
def retry(path: Path, seqs: tuple[int, ...], *, everything: bool) -> None:
    """Deliver dead letters after all: those with the numbers SEQ, or --all.

    They go to the END of the line. Where a newer write to the same user has been delivered since, what
    it set may be overwritten with the older values. Damaged ones cannot be delivered: --all leaves them.
    """
    click.echo(f"{_change(letters.retry, path, seqs, everything=everything)} to be delivered again")
    if everything and (left := letters.status(path).dead):
        click.echo(f"{left} cannot be delivered, as they are damaged: `profilekit outbox list` shows them")


@outbox.command()
@_FILE
@_SEQS
@_ALL
def drop(path: Path, seqs: tuple[int, ...], *, everything: bool) -> None:
    """Delete dead letters for good: those with the numbers SEQ, or --all."""
    click.echo(f"{_change(letters.drop, path, seqs, everything=everything)} dropped")


def _change(change: Callable[..., int], path: Path, seqs: tuple[int, ...], *, everything: bool) -> int:
    if bool(seqs) == everything:
        raise click.UsageError("give the numbers of dead letters, or --all")
    return change(path, None if everything else seqs)


def _record(letter: letters.Letter) -> dict[str, Any]:
    return {
        "seq": letter.seq,
        "put_at": None if letter.put_at is None else _moment(letter.put_at),
        "request": letter.kind,
        "ids": letter.ids,
        "error": {"type": letter.type, "message": letter.message, "status": letter.status},
        "attempts": letter.attempts,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _print(value: dict[str, Any], indent: int | None = None) -> None:
    # In ASCII: what came from outside could drive a terminal.
    print_product(json.dumps(value, indent=indent).replace("\x7f", "\\u007f"))
