"""Rows out of a file: CSV, JSONL, or one id a line."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec
import orjson

from profilekit.errors import ConfigError

__all__ = ["Row", "Table", "open_table"]


class Row(msgspec.Struct, frozen=True):
    """One row of the input.

    Attributes:
        line: Its line in the file, counted from 1.
        fields: Its columns; whatever could be read, if it is bad.
        user_id: Whom it is about; None if it is bad.
        problem: What is wrong with it, or None.
    """

    line: int
    fields: dict[str, Any]
    user_id: str | None = None
    problem: str | None = None


_Reader = Callable[[TextIO, str], Iterator[Row]]


class Table:
    """A file of rows that can be read any number of times. It has been read once, and is sound.

    Attributes:
        columns: The columns of all rows, in the order in which they appear.
        rows: How many rows there are.
        repeats: For each id that comes more than once, how often it comes again.
    """

    def __init__(self, path: Path, id_column: str, reader: _Reader) -> None:
        """Read the file once.

        Raises:
            ConfigError: When it cannot be read, or has no such column.
        """
        self._path, self._id_column, self._reader = path, id_column, reader
        columns: dict[str, None] = {}
        seen: set[str] = set()
        self.rows = 0
        self.repeats: Counter[str] = Counter()
        for row in self:
            self.rows += 1
            columns.update(dict.fromkeys(row.fields))
            if row.user_id in seen:
                self.repeats[row.user_id] += 1
            elif row.user_id is not None:
                seen.add(row.user_id)
        self.columns = tuple(columns)

    def __iter__(self) -> Iterator[Row]:
        """Read the rows from the start."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                yield from self._reader(file, self._id_column)
        except UnicodeDecodeError as error:
            raise ConfigError(f"{self._path} is not UTF-8: {error.reason}") from None
        except OSError as error:
            raise ConfigError(f"cannot read {self._path}: {error.strerror}") from None


def open_table(path: Path, id_column: str = "user_id") -> Table:
    """Open a file as what its suffix says, or, where that says nothing, as what its first line looks like.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.ndjson``, ``.txt`` for one id a line.
        id_column: Which column, or member, holds the user id.

    Raises:
        ConfigError: When it cannot be read, or has no such column.
    """
    reader = _BY_SUFFIX.get(path.suffix.lower())
    return Table(path, id_column, reader or _sniff(path, id_column))


def _sniff(path: Path, id_column: str) -> _Reader:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = next((line.strip() for line in file if line.strip()), "")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if first.startswith("{"):
        return _read_jsonl
    header = next(csv.reader([first]), [])
    return _read_csv if id_column in header else _read_ids


def _read_csv(file: TextIO, id_column: str) -> Iterator[Row]:
    records = csv.reader(file, strict=True)
    header = next(records, [])
    if id_column not in header:
        raise ConfigError(f"there is no column {id_column!r}; the columns are: {', '.join(header) or 'none'}")
    if len(set(header)) < len(header):
        raise ConfigError("two columns have the same name: rename one")
    while True:
        try:
            record = next(records, None)
        except csv.Error as error:
            yield Row(records.line_num, {}, problem=f"line {records.line_num} is not CSV: {error}")
            continue
        if record is None:
            return
        if record:
            yield _csv_row(records.line_num, header, record, id_column)


def _csv_row(line: int, header: list[str], record: list[str], id_column: str) -> Row:
    fields = dict(zip(header, record, strict=False))
    if len(record) != len(header):
        return Row(line, fields, problem=f"line {line} has {len(record)} cells under {len(header)} columns")
    return Row(line, fields, user_id=fields[id_column])


def _read_jsonl(file: TextIO, id_column: str) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        if text.strip():
            yield _json_row(line, text, id_column)


def _json_row(line: int, text: str, id_column: str) -> Row:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Row(line, {}, problem=f"line {line} is not JSON: {error}")
    if not isinstance(fields, dict):
        return Row(line, {}, problem=f"line {line} is not a JSON object")
    user_id = fields.get(id_column)
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        user_id = str(user_id)
    if not isinstance(user_id, str):
        return Row(line, fields, problem=f"line {line} has no {id_column!r} that is text or a whole number")
    return Row(line, fields, user_id=user_id)


def _read_ids(file: TextIO, id_column: str) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        user_id = text.rstrip("\r\n")
        if user_id.strip():
            yield Row(line, {id_column: user_id}, user_id=user_id)


_BY_SUFFIX: dict[str, _Reader] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".txt": _read_ids,
}
