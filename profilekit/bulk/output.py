"""The output of a job: the rows of its list, in their order, each with what became of it."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson

from profilekit.bulk import parquet
from profilekit.bulk.job import Job
from profilekit.bulk.journal import Check, Journal
from profilekit.bulk.kinds import Kinds
from profilekit.bulk.lines import check_json
from profilekit.bulk.rows import no_column
from profilekit.bulk.sink import Layout, open_sink
from profilekit.bulk.source import Rows
from profilekit.bulk.structs import alike, is_struct
from profilekit.bulk.survey import Survey, changed, digest_of, numbered
from profilekit.errors import ConfigError
from profilekit.request import result_type

__all__ = ["check_of", "expander", "layout_of", "write_out"]


def layout_of(job: Job, survey: Survey) -> Layout:
    """Return the columns of a job's output.

    Raises:
        ConfigError: When an added column has the name of one of the input.
    """
    parts = _parts(job)
    layout = Layout(
        columns=survey.columns,
        value=job.prefix + "profile" if job.is_read and not parts else None,
        parts=parts,
        error=job.prefix + "error",
        expand=orjson.loads if job.into is None else expander(job.into),
        escape_formulas=job.escape_formulas,
    )
    missing = sorted({*job.columns.values()} - {*survey.columns})
    if missing and survey.rows:
        raise no_column(missing[0], survey.columns)
    names = Counter([*survey.columns, *layout.added])
    name, times = names.most_common(1)[0]
    if times > 1 and job.output is not None:
        raise ConfigError(f"there would be two columns {name!r}: give the new ones a prefix")
    return layout


def _parts(job: Job) -> dict[str, str]:
    """Return which parts of a profile are columns of their own, and what those are called."""
    names = tuple(dict.fromkeys(job.properties))
    if job.is_to_parquet and is_struct(job.into):
        names = tuple(field.encode_name for field in msgspec.structs.fields(job.into))
    return {name: job.prefix + name for name in names}


def expander(kind: Any) -> Callable[[bytes], Mapping[str, Any]]:
    """Return what takes the JSON of a Struct apart, with datetimes as such."""
    # Code of the Struct's own has run already, when the answer came.
    decode = msgspec.json.Decoder(alike(kind) if is_struct(kind) else kind).decode
    return lambda value: msgspec.to_builtins(decode(value), builtin_types=(datetime,))


def check_of(job: Job, layout: Layout) -> Check:
    """Return the check for values that are read back from the job's journal."""
    decode = layout.expand if layout.parts else check_json
    if not layout.parts and not is_struct(job.into or result_type(job.request)):
        return decode

    def check(value: bytes) -> None:
        if not value.startswith(b"{"):
            raise ValueError("its value is no JSON object")
        decode(value)

    return check


def write_out(job: Job, rows: Rows, survey: Survey, journal: Journal, layout: Layout) -> Counter[str]:
    """Write the output, and count the rows that failed, by the class of the error.

    Raises:
        ConfigError: When the list has changed since it was surveyed.
        OSError: When the output cannot be written.
    """
    if job.output is None:
        return journal.failures()
    if job.is_to_parquet:
        layout = msgspec.structs.replace(layout, types=_types(job, rows, survey, journal, layout))
    failed: Counter[str] = Counter()
    with journal.reader() as read, open_sink(Path(job.output), layout, job.mode) as write:
        for number, row in numbered(rows, survey, job.key if job.is_read else None):
            value, error = read(number)
            write(row, value, error)
            if error is not None:
                failed[orjson.loads(error)["type"]] += 1
        if digest_of(rows) != survey.digest:
            raise changed()
    return failed


def _types(job: Job, rows: Rows, survey: Survey, journal: Journal, layout: Layout) -> dict[str, Any]:
    """Return the Arrow types of all columns: as they came, as a Struct says, or as they look."""
    text = parquet.type_of_kind("text")
    if rows.schema is not None:
        types = dict(zip(rows.schema.names, rows.schema.types, strict=True))
    elif rows.is_text:
        types = dict.fromkeys(survey.columns, text)
    else:
        types = {name: parquet.type_of_kind(kind) for name, kind in survey.kinds.items()}
    if layout.parts and job.into is not None:
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(job.into)}
        added = {name: parquet.type_of(fields[name]) for name in layout.parts}
    else:
        added = _types_of_properties(journal, layout)
    types.update({layout.parts[name]: kind for name, kind in added.items()})
    return types | {name: text for name in layout.added if name not in types}


def _types_of_properties(journal: Journal, layout: Layout) -> dict[str, Any]:
    if not layout.parts:
        return {}
    kinds = Kinds(texts=False)
    with journal.reader() as read:
        for number in journal.numbers():
            value, _ = read(number)
            if value is not None:
                kinds.see(orjson.loads(value))
    return {name: parquet.type_of_kind(kind) for name, kind in kinds.of(layout.parts).items()}
