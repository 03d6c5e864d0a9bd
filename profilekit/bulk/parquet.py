"""Parquet in and out, through pyarrow, which is an extra."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from profilekit.bulk.kinds import Kind
from profilekit.bulk.rows import Row, no_column, user_id_of
from profilekit.errors import ConfigError

__all__ = ["Cells", "array_of", "is_parquet", "read", "schema_of", "type_of", "type_of_kind", "writer"]

_MAGIC = b"PAR1"
_BATCH = 1024
_BUFFER = 256 * 1024

# In batches: Arrow's pool would keep what it has had, and to give it back each time takes 2 us a row.
_RELEASE_EVERY = 4

Cells = Callable[[Sequence[Any]], None]
"""Writes one row of cells."""


def is_parquet(path: Path) -> bool:
    """Say whether a file is one, by its first bytes or, where it is empty, its name."""
    with path.open("rb") as file:
        return file.read(4) == _MAGIC or path.suffix.lower() == ".parquet"


def _pyarrow() -> Any:
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("Parquet needs an extra: pip install 'profilekit[parquet]'") from None
    return arrow


def _file(path: Path) -> Any:
    pyarrow = _pyarrow()
    try:
        # Without a buffer, a column is read as a whole, however many rows its group has.
        return pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except pyarrow.ArrowException as error:
        raise ConfigError(f"{path} is not Parquet: {error}") from None


# ---- in ----------------------------------------------------------------------------------------


def schema_of(path: Path, id_column: str) -> Any:
    """Return the schema of a file.

    Raises:
        ConfigError: When it is broken, or has no such column.
    """
    with _file(path) as file:
        schema = file.schema_arrow
    if id_column not in schema.names:
        raise no_column(id_column, schema.names)
    if len(set(schema.names)) < len(schema.names):
        raise ConfigError("two columns have the same name: rename one")
    arrow, kind = _pyarrow(), schema.field(id_column).type
    plain = kind.value_type if arrow.types.is_dictionary(kind) else kind
    known = arrow.types
    if not (known.is_string(plain) or known.is_large_string(plain) or known.is_integer(plain)):
        raise ConfigError(f"the ids under {id_column!r} are {kind}: cast them to text or to integers")
    return arrow.schema([field.with_type(_readable(field.type)) for field in schema])


def _readable(kind: Any) -> Any:
    """Return a type that Python has values for: it knows no nanoseconds."""
    arrow = _pyarrow()
    if arrow.types.is_timestamp(kind) and kind.unit == "ns":
        return arrow.timestamp("us", tz=kind.tz)
    if arrow.types.is_time64(kind) and kind.unit == "ns":
        return arrow.time64("us")
    return arrow.duration("us") if arrow.types.is_duration(kind) and kind.unit == "ns" else kind


def read(path: Path, id_column: str) -> Iterator[Row]:
    """Read the rows of a file, a batch at a time."""
    pyarrow = _pyarrow()
    line, schema = 0, schema_of(path, id_column)
    columns, place = tuple(schema.names), schema.names.index(id_column)
    with _file(path) as file:
        try:
            for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
                for cells in zip(*[column.to_pylist() for column in batch.cast(schema).columns]):  # noqa: B905
                    line += 1
                    user_id, problem = user_id_of(cells[place]), None
                    if user_id is None:
                        problem = f"row {line} has no {id_column!r} that is text or a whole number"
                    yield Row(line, columns, cells, user_id, problem)
        except (pyarrow.ArrowException, ValueError, OverflowError) as error:
            raise ConfigError(f"{path} cannot be read after row {line}: {error}") from None


# ---- out ---------------------------------------------------------------------------------------


def type_of_kind(kind: Kind) -> Any:
    """Return the Arrow type of a kind of column."""
    arrow = _pyarrow()
    types = {"bool": arrow.bool_(), "int": arrow.int64(), "float": arrow.float64()}
    return types.get(kind, arrow.string())


def type_of(kind: Any) -> Any:
    """Return the Arrow type of a Python type; JSON text for what Arrow has none for."""
    return _type_of(msgspec.inspect.type_info(kind)) or type_of_kind("text")


def _type_of(info: Any, within: frozenset[Any] = frozenset()) -> Any:
    """Return an Arrow type, or None where there is none that holds all values, as of a Struct in itself."""
    arrow, known = _pyarrow(), msgspec.inspect
    if isinstance(info, known.UnionType):
        some = [_type_of(each, within) for each in info.types if not isinstance(each, known.NoneType)]
        return some[0] if len(some) == 1 else None
    if isinstance(info, known.DateTimeType):
        return arrow.timestamp("us", tz="UTC")
    if isinstance(info, known.ListType | known.VarTupleType | known.SetType | known.FrozenSetType):
        item = _type_of(info.item_type, within)
        return None if item is None else arrow.list_(item)
    if isinstance(info, known.StructType):
        if info.cls in within:
            return None
        fields = {field.encode_name: _type_of(field.type, within | {info.cls}) for field in info.fields}
        return None if None in fields.values() else arrow.struct(list(fields.items()))
    kinds: dict[Any, Kind] = {
        known.BoolType: "bool",
        known.IntType: "int",
        known.FloatType: "float",
        known.StrType: "text",
    }
    return type_of_kind(kinds[type(info)]) if type(info) in kinds else None


@contextmanager
def writer(file: IO[bytes], types: Mapping[str, Any]) -> Iterator[Cells]:
    """Write a file of rows, a batch at a time; it is complete when the block ends.

    Args:
        file: Where to.
        types: The columns and their Arrow types.
    """
    arrow = _pyarrow()
    schema = arrow.schema(list(types.items()))
    rows: list[Sequence[Any]] = []
    batches = count(1)
    # Of a text, the least and the greatest of each group are kept until the end: whole profiles.
    measured = [field.name for field in schema if not arrow.types.is_string(field.type)]
    out = arrow.parquet.ParquetWriter(file, schema, compression="zstd", write_statistics=measured)

    def write(cells: Sequence[Any]) -> None:
        rows.append(cells)
        if len(rows) >= _BATCH:
            flush()

    def flush() -> None:
        columns = zip(*rows, strict=True)
        arrays = [array_of(column, kind) for column, kind in zip(columns, schema.types, strict=True)]
        out.write_batch(arrow.record_batch(arrays, schema=schema))
        rows.clear()
        if next(batches) % _RELEASE_EVERY == 0:
            arrow.default_memory_pool().release_unused()

    try:
        yield write
        if rows:
            flush()
    except BaseException:
        # Else pyarrow would do it later, to a file that is closed.
        with suppress(OSError):
            out.close()
        raise
    out.close()


def array_of(column: Sequence[Any], kind: Any) -> Any:
    """Return cells as an Arrow array; whatever is no text, as JSON where the column is of text.

    Raises:
        ConfigError: When one of them does not fit.
    """
    arrow = _pyarrow()
    try:
        with suppress(arrow.ArrowTypeError):
            # Mostly all of it is as the column has it.
            return arrow.array(column, kind)
        return arrow.array([_text(cell) for cell in column] if arrow.types.is_string(kind) else column, kind)
    except (arrow.ArrowException, OverflowError, TypeError) as error:
        raise ConfigError(f"a value does not fit a column of {kind}: {error}") from None


def _text(cell: Any) -> str | bytes | None:
    """Return a cell as text, or as the bytes of one."""
    return cell if cell is None or isinstance(cell, str | bytes) else orjson.dumps(cell, default=str)
