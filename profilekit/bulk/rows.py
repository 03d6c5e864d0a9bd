"""Rows out of a file: CSV, JSONL, or one id a line."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
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


_LONG_NUMBER = re.compile(r"\d{19}")
_LARGEST_CELL = 16 * 1024 * 1024

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
        if self.rows and id_column not in columns:
            raise ConfigError(
                f"there is no column {id_column!r}; the columns are: {', '.join(columns) or 'none'}"
            )

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
        path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, ``.txt`` for one id a line, perhaps under
            the column's name.
        id_column: Which column, or member, holds the user id.

    Raises:
        ConfigError: When it cannot be read, or has no such column.
    """
    return Table(path, id_column, _BY_SUFFIX.get(path.suffix.lower()) or _sniff(path, id_column))


def _sniff(path: Path, id_column: str) -> _Reader:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            first = next((line.strip() for line in file if line.strip()), "")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if first.startswith("{"):
        return _read_jsonl
    if id_column in next(csv.reader([first]), []):
        return _read_csv
    if first.startswith("[") or any(mark in first for mark in ",;\t"):
        raise ConfigError(f"cannot tell what {path} is: name it .csv, .tsv, .jsonl, or .txt (ids)")
    return _read_ids


def _read_tsv(file: TextIO, id_column: str) -> Iterator[Row]:
    return _read_csv(file, id_column, delimiter="\t")


def _read_csv(file: TextIO, id_column: str, *, delimiter: str = ",") -> Iterator[Row]:
    # The limit is one for the whole process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    records = csv.reader(file, strict=True, delimiter=delimiter)
    header = next(records, [])
    if id_column not in header:
        raise ConfigError(_no_column(id_column, header))
    if len(set(header)) < len(header):
        raise ConfigError("two columns have the same name: rename one")
    while True:
        try:
            record = next(records, None)
        except csv.Error as error:
            if "unexpected end" in str(error) or "field larger" in str(error):
                # What follows would be read as something else.
                raise ConfigError(f"the CSV breaks off at line {records.line_num}: {error}") from None
            yield Row(records.line_num, {}, problem=f"line {records.line_num} is not CSV: {error}")
            continue
        if record is None:
            return
        if record:
            yield _csv_row(records.line_num, header, record, id_column)


def _no_column(wanted: str, columns: Iterable[str]) -> str:
    return f"there is no column {wanted!r}; the columns are: {', '.join(columns) or 'none'}"


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
    problem = _unwritable(fields, text)
    if problem:
        return Row(line, {}, problem=f"line {line} {problem}")
    user_id = fields.get(id_column)
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        user_id = str(user_id)
    if not isinstance(user_id, str):
        return Row(line, fields, problem=f"line {line} has no {id_column!r} that is text or a whole number")
    return Row(line, fields, user_id=user_id)


def _unwritable(fields: dict[str, Any], text: str) -> str | None:
    """Say why a row could not be written again as it was."""
    # orjson reads such numbers as floats, which are others.
    if _LONG_NUMBER.search(text) and any(not -(2**63) <= number < 2**64 for number in _whole_numbers(text)):
        return "holds a whole number beyond 64 bits: write it as text"
    try:
        orjson.dumps(fields)
    except TypeError as error:
        return f"cannot be written again: {error}"
    return None


def _whole_numbers(text: str) -> list[int]:
    found: list[int] = []
    json.loads(text, parse_int=lambda digits: found.append(int(digits[:40])))
    return found


def _read_ids(file: TextIO, id_column: str) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        user_id = text.rstrip("\r\n")
        if user_id.strip() and not (line == 1 and user_id == id_column):
            yield Row(line, {id_column: user_id}, user_id=user_id)


_BY_SUFFIX: dict[str, _Reader] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".tsv": _read_tsv,
    ".txt": _read_ids,
}
