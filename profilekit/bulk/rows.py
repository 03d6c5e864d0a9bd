"""Rows out of a text: CSV, JSONL, or one id a line."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO, TypeAlias

import msgspec
import orjson

from profilekit.errors import ConfigError

__all__ = ["READERS", "Reader", "Row", "header_of", "no_column", "reader_of_text", "user_id_of"]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One row of the input.

    Attributes:
        line: Its line in the file, counted from 1.
        columns: The names of its columns; those that could be read, if it is bad.
        cells: What stands in them.
        user_id: Whom it is about; None if it is bad.
        problem: What is wrong with it, or None.
    """

    line: int
    columns: tuple[str, ...]
    cells: Iterable[Any]
    user_id: str | None = None
    problem: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """What stands in each column. It is made anew each time, as most rows are read for their id."""
        return dict(zip(self.columns, self.cells))  # noqa: B905 - the last cells may be missing

    def under(self, columns: tuple[str, ...]) -> Iterable[Any]:
        """Return what stands under some columns; None where there is nothing."""
        if self.columns == columns and self.problem is None:
            return self.cells
        return map(self.fields.get, columns)


Reader: TypeAlias = Callable[[TextIO, str], Iterator[Row]]
"""Reads a text whose ids stand in the column of a name."""

# How many characters of lines are looked at together.
_AT_ONCE = 64 * 1024

_LARGEST_CELL = 16 * 1024 * 1024

# Nothing shorter is nested 254 times, which is too deep to be written again.
_SHALLOW = 2 * 254

# Digits, of which only how many stand together matters.
_ANY_DIGIT = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 19


def reader_of_text(first: str, id_column: str) -> Reader | None:
    """Return what reads a text that begins with a line, or None where that cannot be told."""
    if first.startswith("{"):
        return _read_jsonl
    if id_column in next(csv.reader([first]), []):
        return _read_csv
    if id_column in first.split("\t"):
        return _read_tsv
    if first.startswith("[") or any(mark in first for mark in ",;\t"):
        return None
    return _read_ids


def header_of(reader: Reader, file: TextIO, id_column: str) -> tuple[str, ...]:
    """Return the columns that a text has, however few its rows; none where each row has its own."""
    if reader is _read_jsonl:
        return ()
    if reader is _read_ids:
        return (id_column,)
    return tuple(next(csv.reader(file, delimiter="\t" if reader is _read_tsv else ","), ()))


def no_column(wanted: str, columns: Iterable[str]) -> ConfigError:
    """Return the error of a list that lacks a column."""
    return ConfigError(f"there is no column {wanted!r}; the columns are: {', '.join(columns) or 'none'}")


# ---- CSV ---------------------------------------------------------------------------------------


def _read_tsv(file: TextIO, id_column: str) -> Iterator[Row]:
    return _read_csv(file, id_column, delimiter="\t")


def _read_csv(file: TextIO, id_column: str, *, delimiter: str = ",") -> Iterator[Row]:
    # The limit is one for the whole process; it is only ever raised.
    csv.field_size_limit(max(csv.field_size_limit(), _LARGEST_CELL))
    records = csv.reader(file, strict=True, delimiter=delimiter)
    header = tuple(next(records, ()))
    if id_column not in header:
        raise no_column(id_column, header)
    if len(set(header)) < len(header):
        raise ConfigError("two columns have the same name: rename one")
    width, place = len(header), header.index(id_column)
    while True:
        try:
            for record in records:
                if len(record) == width:
                    yield Row(records.line_num, header, record, record[place])
                elif record:
                    yield _odd_row(records.line_num, header, record)
        except csv.Error as error:
            if "unexpected end" in str(error) or "field larger" in str(error):
                # What follows would be read as something else.
                raise ConfigError(f"the CSV breaks off at line {records.line_num}: {error}") from None
            yield Row(records.line_num, (), (), problem=f"line {records.line_num} is not CSV: {error}")
        else:
            return


def _odd_row(line: int, header: tuple[str, ...], record: list[str]) -> Row:
    problem = f"line {line} has {len(record)} cells under {len(header)} columns"
    return Row(line, header, record, problem=problem)


# ---- JSONL -------------------------------------------------------------------------------------


def _read_jsonl(file: TextIO, id_column: str) -> Iterator[Row]:
    read = 0
    # To look at many lines at once takes a fifth of the time.
    while texts := file.readlines(_AT_ONCE):
        is_suspect = _is_suspect(texts)
        for line, text in enumerate(texts, read + 1):
            if text.strip():
                yield _json_row(line, text, id_column, is_suspect=is_suspect)
        read += len(texts)


def _json_row(line: int, text: str, id_column: str, *, is_suspect: bool) -> Row:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Row(line, (), (), problem=f"line {line} is not JSON: {error}")
    if not isinstance(fields, dict):
        return Row(line, (), (), problem=f"line {line} is not a JSON object")
    problem = _unwritable(fields, text) if is_suspect else None
    if problem:
        return Row(line, (), (), problem=f"line {line} {problem}")
    user_id = fields.get(id_column)
    if not isinstance(user_id, str):
        user_id = user_id_of(user_id)
    if user_id is None:
        problem = f"line {line} has no {id_column!r} that is text or a whole number"
    return Row(line, tuple(fields), fields.values(), user_id, problem)


def user_id_of(value: object) -> str | None:
    """Return a value of a typed column as an id, or None where it cannot be one."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _is_suspect(texts: list[str]) -> bool:
    """Say whether any of some lines might hold what can be read, but not be written again."""
    together = "".join(texts)
    return "\\u" in together or max(map(len, texts)) > _SHALLOW or _has_long_number(together)


def _has_long_number(text: str) -> bool:
    return _LONG_NUMBER in text.encode().translate(_ANY_DIGIT)


def _unwritable(fields: dict[str, Any], text: str) -> str | None:
    """Say why a row could not be written again as it was."""
    try:
        # orjson reads such numbers as floats, which are others.
        if _has_long_number(text) and any(not -(2**63) <= number < 2**64 for number in _whole_numbers(text)):
            return "holds a whole number beyond 64 bits: write it as text"
        # Half a character can be read, as an escape, and so can what is nested too deep.
        orjson.dumps(fields)
    except RecursionError:
        return "is nested too deep"
    except TypeError as error:
        return f"cannot be written again: {error}"
    return None


def _whole_numbers(text: str) -> list[int]:
    found: list[int] = []
    json.loads(text, parse_int=lambda digits: found.append(int(digits[:40])))
    return found


# ---- ids ---------------------------------------------------------------------------------------


def _read_ids(file: TextIO, id_column: str) -> Iterator[Row]:
    columns = (id_column,)
    for line, text in enumerate(file, 1):
        user_id = text.rstrip("\r\n")
        if user_id.strip() and not (line == 1 and user_id == id_column):
            yield Row(line, columns, (user_id,), user_id)


READERS: dict[str, Reader] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".tsv": _read_tsv,
    ".txt": _read_ids,
}
"""What reads a file, by its suffix."""
