"""Profiles and errors as Arrow columns, of the same names and types in every batch. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import orjson

from profilekit.bulk import parquet
from profilekit.bulk.journal import Was
from profilekit.bulk.output import expander
from profilekit.bulk.sending import record
from profilekit.bulk.sink import Layout, cells_of
from profilekit.bulk.structs import is_struct
from profilekit.errors import ConfigError

__all__ = ["check_free", "layout_of", "with_answers"]


def layout_of(into: Any, properties: Iterable[str], prefix: str) -> Layout:
    """Return the columns to add: those that ``profilekit enrich`` adds to a Parquet file.

    Args:
        into: The type that profiles are decoded into; of a Struct, each field is a column of its type.
        properties: Properties to be columns, of text, as what another batch holds is not known.
        prefix: What the columns begin with.
    """
    text = parquet.type_of_kind("text")
    types = dict.fromkeys(properties, text)
    if is_struct(into):
        fields = msgspec.structs.fields(into)
        types = {field.encode_name: parquet.type_of(field.type) for field in fields}
    layout = Layout(
        columns=(),
        value=None if types else prefix + "profile",
        parts={name: prefix + name for name in types},
        error=prefix + "error",
        expand=orjson.loads if into is None else expander(into),
    )
    typed = {layout.parts[name]: kind for name, kind in types.items()}
    return msgspec.structs.replace(layout, types=dict.fromkeys(layout.added, text) | typed)


def check_free(layout: Layout, columns: Iterable[str]) -> None:
    """Refuse a list that has a column of the name of one that would be added.

    Raises:
        ConfigError: Says which.
    """
    taken = sorted({*layout.added} & {*columns})
    if taken or len({*layout.added}) < len(layout.added):
        name = (taken or layout.added)[0]
        raise ConfigError(f"there would be two columns {name!r}: give the new ones a prefix")


def with_answers(table: Any, layout: Layout, answers: Sequence[Was], places: Sequence[int]) -> Any:
    """Return a table with what became of its rows.

    Args:
        table: The rows.
        layout: The columns to add.
        answers: The value, or else the error, of each user, as JSON. One that does not fit its column
            becomes an error.
        places: By row, the place of its answer.
    """
    try:
        arrays = _arrays(layout, answers)
    except ConfigError:
        arrays = _arrays(layout, [_fitting(layout, answer) for answer in answers])
    for name, array in zip(layout.added, arrays, strict=True):
        table = table.append_column(name, array.take(parquet.array_of(places, parquet.type_of_kind("int"))))
    return table


def _arrays(layout: Layout, answers: Sequence[Was]) -> list[Any]:
    rows = [cells_of(layout, *answer) for answer in answers]
    return [
        parquet.array_of(column, layout.types[name])
        for name, column in zip(layout.added, zip(*rows, strict=True), strict=True)
    ]


def _fitting(layout: Layout, answer: Was) -> Was:
    try:
        _arrays(layout, [answer])
    except ConfigError as error:
        return None, record(error)
    return answer
