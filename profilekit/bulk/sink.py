"""Rows into a file: JSONL or CSV, whole or not at all."""

import csv
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import msgspec
import orjson

from profilekit.bulk.enrich import Enriched
from profilekit.errors import ConfigError, ProfileKitError, StatusError

__all__ = ["Sink", "open_sink"]

Sink: TypeAlias = Callable[[Enriched], None]

_ADDED = ("profile", "error")


@contextmanager
def open_sink(path: Path, columns: Sequence[str], *, prefix: str = "") -> Iterator[Sink]:
    """Open a file for enriched rows. It gets its name when the block ends well; else nothing stays.

    Args:
        path: ``.jsonl`` (or ``.ndjson``) or ``.csv``.
        columns: The columns of the input.
        prefix: What the added columns, ``profile`` and ``error``, begin with.

    Yields:
        A function that writes one row.

    Raises:
        ConfigError: When the suffix is another, a column has the name of an added one, or the file
            cannot be written.
    """
    make = _BY_SUFFIX.get(path.suffix.lower())
    if make is None:
        raise ConfigError(f"{path}: the output is .jsonl or .csv")
    added = tuple(prefix + name for name in _ADDED)
    taken = sorted(set(added) & set(columns))
    if taken:
        raise ConfigError(f"the input already has a column {taken[0]!r}: give the new ones a prefix")
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise ConfigError(f"cannot write to {path}: it is not an ordinary file")
    with _whole(path) as file:
        yield make(file, columns, added)


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """Write beside the final name, and take it at the end."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = part.open("x", encoding="utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"cannot write to {path.parent}: {error.strerror}") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            part.chmod(path.stat().st_mode)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _jsonl(file: TextIO, _: Sequence[str], added: tuple[str, ...]) -> Sink:
    profile, error = added

    def write(enriched: Enriched) -> None:
        record = {
            **enriched.row.fields,
            profile: None
            if enriched.profile is None
            else orjson.Fragment(msgspec.json.encode(enriched.profile)),
            error: _error_record(enriched.error),
        }
        file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode())

    return write


def _error_record(error: ProfileKitError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    record: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, StatusError):
        record["status"] = error.status
    return record


def _csv(file: TextIO, columns: Sequence[str], added: tuple[str, ...]) -> Sink:
    table = csv.writer(file)
    table.writerow([*columns, *added])

    def write(enriched: Enriched) -> None:
        fields, error = enriched.row.fields, enriched.error
        profile = "" if enriched.profile is None else msgspec.json.encode(enriched.profile).decode()
        reason = "" if error is None else f"{type(error).__name__}: {error}"
        table.writerow([*(_cell(fields.get(name)) for name in columns), profile, reason])

    return write


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


_BY_SUFFIX: dict[str, Callable[[TextIO, Sequence[str], tuple[str, ...]], Sink]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".csv": _csv,
}
