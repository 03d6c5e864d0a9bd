"""Rows into a file: JSONL, CSV or Parquet, whole or not at all."""

import base64
import gzip
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

import msgspec
import orjson

from profilekit.bulk import parquet
from profilekit.bulk.formulas import without_formula
from profilekit.bulk.place import PRIVATE, resolved, whole
from profilekit.bulk.rows import Row
from profilekit.errors import ConfigError

__all__ = ["Layout", "Write", "cells_of", "check_output", "form_of", "open_sink"]

Write: TypeAlias = Callable[[Row, bytes | None, bytes | None], None]
"""Writes a row of the input, and its value or its error as JSON."""

Expand: TypeAlias = Callable[[bytes], Mapping[str, Any]]

_SPECIAL = re.compile('[",\r\n]')

_FORMS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """What the columns of an output are.

    Attributes:
        columns: The columns of the input, first.
        value: The column that holds the whole value as JSON; None where ``parts`` are columns instead.
        parts: Columns for parts of the value: the name of each column, by that of the part.
        error: The column that holds the error.
        expand: Takes a value's JSON apart into ``parts``.
        types: The Arrow types of all columns, for Parquet.
        escape_formulas: Whether formulas in a CSV get a leading apostrophe.
    """

    columns: tuple[str, ...]
    value: str | None
    parts: dict[str, str]
    error: str
    expand: Expand = orjson.loads
    types: Mapping[str, Any] = {}
    escape_formulas: bool = False

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that come after those of the input."""
        whole = () if self.value is None else (self.value,)
        return (*whole, *self.parts.values(), self.error)


def form_of(path: Path) -> str:
    """Return ``jsonl``, ``csv`` or ``parquet``, as the name of an output says.

    Raises:
        ConfigError: When it says something else.
    """
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    form = _FORMS.get(name.suffix.lower())
    if form is None or (form == "parquet" and name != path):
        raise ConfigError(f"{path}: the output is .jsonl, .csv (each perhaps with .gz), or .parquet")
    return form


def check_output(path: Path) -> None:
    """Refuse an output that cannot be written, before anything is sent.

    Raises:
        ConfigError: When it is no ordinary file, or its folder is not there.
    """
    form_of(path)
    path = resolved(path)
    if path.exists() and not path.is_file():
        raise ConfigError(f"cannot write to {path}: it is not an ordinary file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        reason = "may not be written to" if path.parent.is_dir() else "is no folder"
        raise ConfigError(f"cannot write to {path.parent}: it {reason}")


@contextmanager
def open_sink(path: Path, layout: Layout, mode: int = PRIVATE) -> Iterator[Write]:
    """Open a file for rows. It gets its name when the block ends well; else nothing stays.

    Args:
        path: ``.jsonl`` (or ``.ndjson``) or ``.csv``, each perhaps with ``.gz``, or ``.parquet``.
        layout: Its columns.
        mode: Its permissions, whatever those of a file that it replaces; until it is complete, only its
            owner can read it.

    Yields:
        A function that writes one row.

    Raises:
        ConfigError: When the suffix is another, or the file cannot be written.
    """
    form, path = form_of(path), resolved(path)
    with whole(path, mode) as file:
        if form == "parquet":
            with parquet.writer(file, layout.types) as table:
                yield _parquet(table, layout)
            return
        with _compressed(file, path) as out:
            yield _csv(out, layout) if form == "csv" else _jsonl(out, layout)


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix.lower() != ".gz":
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6) as out:
        yield cast("IO[bytes]", out)


# ---- the forms ---------------------------------------------------------------------------------


def _jsonl(file: IO[bytes], layout: Layout) -> Write:
    def write(row: Row, value: bytes | None, error: bytes | None) -> None:
        record = row.fields
        if layout.value is not None:
            record[layout.value] = _fragment(value)
        elif layout.parts:
            record.update(_parts(layout, value))
        record[layout.error] = _fragment(error)
        file.write(orjson.dumps(record, default=_as_text, option=orjson.OPT_APPEND_NEWLINE))

    return write


def _csv(file: IO[bytes], layout: Layout) -> Write:
    cells = _inert_cells if layout.escape_formulas else _cells

    # The csv module takes 5 times as long for a profile.
    def put(*parts: bytes) -> None:
        file.write(b"%b\r\n" % b",".join(parts))

    def write(row: Row, value: bytes | None, error: bytes | None) -> None:
        given, said = cells(row.under(layout.columns)), _said(error)
        if layout.value is not None:
            put(given, _json_cell(value), said)
        elif layout.parts:
            put(given, cells(_parts(layout, value).values()), said)
        else:
            put(given, said)

    put(cells([*layout.columns, *layout.added]))
    return write


def _parquet(table: parquet.Cells, layout: Layout) -> Write:
    def write(row: Row, value: bytes | None, error: bytes | None) -> None:
        table([*row.under(layout.columns), *cells_of(layout, value, error)])

    return write


def cells_of(layout: Layout, value: bytes | None, error: bytes | None) -> list[Any]:
    """Return the cells of the added columns; what is JSON, as bytes."""
    added = _parts(layout, value).values() if layout.parts else () if layout.value is None else (value,)
    return [*added, error]


def _parts(layout: Layout, value: bytes | None) -> dict[str, Any]:
    """Return the columns that are parts of a value."""
    parts = {} if value is None else layout.expand(value)
    return {column: parts.get(name) for name, column in layout.parts.items()}


# ---- what is JSON already ----------------------------------------------------------------------


def _fragment(text: bytes | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


def _json_cell(text: bytes | None) -> bytes:
    return b"" if text is None else b'"%b"' % text.replace(b'"', b'""')


def _said(error: bytes | None) -> bytes:
    if error is None:
        return b""
    known = orjson.loads(error)
    return _cells([f"{known['type']}: {known['message']}"])


# ---- cells of a text ---------------------------------------------------------------------------


def _cells(values: Iterable[Any]) -> bytes:
    """Return values as cells, with commas between them."""
    texts = [value if type(value) is str else _text(value) for value in values]
    # Hardly any needs quotes, and to look at them one by one takes longer.
    if _SPECIAL.search("".join(texts)):
        texts = [_quoted(text) for text in texts]
    return ",".join(texts).encode()


def _inert_cells(values: Iterable[Any]) -> bytes:
    return _cells([without_formula(_text(value)) for value in values])


def _quoted(cell: str) -> str:
    if not _SPECIAL.search(cell):
        return cell
    doubled = cell.replace('"', '""')
    return f'"{doubled}"'


def _text(value: object) -> str:
    """Return a value as the text of a cell."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # noqa: PLR0124 - NaN, which is nothing, too
        return ""
    if isinstance(value, bool | int | float | dict | list):
        return orjson.dumps(value, default=_as_text).decode()
    return _as_text(value)


def _as_text(value: object) -> str:
    """Return what JSON has nothing for: bytes as UTF-8 or else base64, times as ISO 8601 has them."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, datetime | date | time) else str(value)
