"""A job as a value: which list, what to ask of each row, where the answers go."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import orjson

from profilekit.bulk.kinds import Kind, cell_of_kind
from profilekit.bulk.place import PRIVATE, resolved
from profilekit.bulk.rows import Row
from profilekit.bulk.sink import check_output, form_of
from profilekit.bulk.source import Source
from profilekit.errors import ConfigError
from profilekit.request import Request

__all__ = ["Ask", "Job", "asker"]

Ask: TypeAlias = Callable[[Row], Request[Any]]
"""Makes the request of a row; raises ConfigError where there is none to make."""

_ALL_PERMISSIONS = 0o777

# Stands for any id where a request is only made to see whether it can be.
_ANYBODY = "anybody"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A list of users to be read or written, row by row.

    Args:
        source: A file (CSV, TSV, JSONL, Parquet, one id a line; ``.gz`` and ``.zst`` as they are), ``-``
            for standard input, or rows: mappings, or just ids, from any iterable, async ones too.
        request: The class of the requests, such as ``amplitude.GetProfile``.
        output: The file for the rows with their profiles or errors: ``.jsonl``, ``.csv``, ``.parquet``.
            Reads need one. What is done is kept beside it, in a file of its name with ``.journal``. Objects
            within a whole profile stay as the vendor wrote them: each digit, and a name that comes twice.
        id_column: The column that holds the id.
        id_field: The field of the request that takes it; its first id unless told otherwise.
        parameters: Other fields of every request.
        columns: Fields that each row gives, by the name of its column: ``{"rec_id": "rec"}``. Empty cells
            leave them out.
        rest: The field that takes every other column, as an object: ``properties`` of a
            ``userflux.UpdateProfile``. Empty cells are left out.
        into: A Struct of the caller's own to decode profiles into; in Parquet, each of its fields is a
            column of its type.
        properties: Properties of profiles to be columns of their own, in place of the whole profile.
        mode: The permissions of the output, whatever those of a file that it replaces: only its owner can
            read it, unless others are allowed to, such as the group by ``0o640``.
        prefix: What the added columns (``profile`` and ``error``, or the properties) begin with.
        escape_formulas: Put an apostrophe before cells and headers of a CSV output that a spreadsheet would
            run as formulas: those that begin with ``=``, ``+``, ``-``, ``@`` (spaces before them aside), a
            tab or a line break. Cells of the input are escaped, too; negative numbers are not.

    Raises:
        ConfigError: When one of them cannot be used, or no such request can be made.
    """

    source: Source
    request: type[Request[Any]]
    output: Path | None = None
    id_column: str = "user_id"
    id_field: str | None = None
    parameters: Mapping[str, Any] = {}
    columns: Mapping[str, str] = {}
    rest: str | None = None
    into: Any = None
    properties: tuple[str, ...] = ()
    prefix: str = ""
    escape_formulas: bool = False
    mode: int = PRIVATE

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if not (isinstance(self.request, type) and issubclass(self.request, Request)):
            raise ConfigError("Job: request must be a class of requests, such as amplitude.GetProfile")
        self._check_fields()
        if not (type(self.mode) is int and 0 <= self.mode <= _ALL_PERMISSIONS):
            raise ConfigError(
                f"Job: mode must be permissions from 0 to 0o777, such as 0o640, got {self.mode!r}"
            )
        if self.into is not None and self.properties:
            raise ConfigError("Job: give into or properties, not both")
        if self.output is not None:
            check_output(Path(self.output))
            if isinstance(self.source, str | Path) and resolved(Path(self.source)) in self._written():
                raise ConfigError(f"Job: {self.source} is what is read: name another output")
        elif self.is_read:
            raise ConfigError("Job: reading profiles needs an output")
        elif not isinstance(self.source, str | Path) or self.source == "-":
            raise ConfigError("Job: give an output, or a file to read: the journal is kept beside it")
        self._check_formulas()
        _ = self.sample

    def _check_formulas(self) -> None:
        form = None if self.output is None else form_of(Path(self.output))
        if self.escape_formulas and form != "csv":
            raise ConfigError(f"Job: escape_formulas=True needs a CSV output, got {self.output or 'none'}")

    def _check_fields(self) -> None:
        fields = self.request.__struct_fields__
        rest = () if self.rest is None else (self.rest,)
        for name, times in Counter([self.id_name, *self.parameters, *self.columns, *rest]).items():
            if name not in fields:
                raise ConfigError(f"Job: {self.title} has no {name!r}; it has {', '.join(fields)}")
            if times > 1:
                raise ConfigError(f"Job: {name} is given twice")

    @property
    def id_name(self) -> str:
        """The field of the request that takes the id."""
        endpoint = self.request.endpoint
        return self.id_field or (endpoint.ids or endpoint.path_fields or self.request.__struct_fields__)[0]

    @property
    def is_read(self) -> bool:
        """Whether it reads profiles; else it writes them."""
        return self.request.endpoint.is_read

    @property
    def title(self) -> str:
        """The requests, as messages name them."""
        return f"{self.request.endpoint.vendor.name}.{self.request.__name__}"

    @property
    def sample(self) -> Request[Any]:
        """A request such as the job makes.

        Raises:
            ConfigError: When none can be made.
        """
        return self.request(**{self.id_name: _ANYBODY, **self.parameters})

    @property
    def journal(self) -> Path:
        """Where what is done is kept."""
        beside = Path(self.output) if self.output is not None else Path(str(self.source))
        return beside.with_name(f"{beside.name}.journal")

    def _written(self) -> tuple[Path, ...]:
        return resolved(Path(str(self.output))), resolved(self.journal)

    @property
    def is_to_parquet(self) -> bool:
        """Whether its output is Parquet, whose columns have types."""
        return self.output is not None and form_of(Path(self.output)) == "parquet"

    @property
    def options(self) -> dict[str, Any]:
        """What must be the same for a journal to be carried on with."""
        return {
            "request": self.title,
            "parameters": {name: repr(value) for name, value in self.parameters.items()},
            "columns": dict(self.columns),
            "id column": self.id_column,
            "id field": self.id_name,
            "rest": self.rest,
            "into": None if self.into is None else repr(self.into),
            "properties": list(self.properties),
        }

    @property
    def key(self) -> Callable[[Row], str]:
        """What says of a row what it asks for: rows of which it is the same need one request."""
        if not self.columns:
            return attrgetter("user_id")
        columns = tuple(self.columns.values())

        def key(row: Row) -> str:
            fields = row.fields
            cells = [fields.get(column) for column in columns]
            return f"{row.user_id}\0{orjson.dumps(cells, default=str).decode()}"

        return key


def asker(job: Job, kinds: Mapping[str, Kind], *, texts: bool) -> Ask:
    """Return what makes the request of a row.

    Args:
        job: The job.
        kinds: Of what kind each column of the list is.
        texts: Whether cells come as text, and ``kinds`` says what they mean.
    """
    make, id_name, fixed = job.request, job.id_name, dict(job.parameters)
    if not job.columns and job.rest is None:
        if not fixed and id_name == make.__struct_fields__[0]:
            return lambda row: make(row.user_id)
        return lambda row: make(**{id_name: row.user_id, **fixed})
    types = {field.name: field.type for field in msgspec.structs.fields(make)}
    known = {job.id_column, *job.columns.values()}

    def ask(row: Row) -> Request[Any]:
        given, fields = dict(fixed), row.fields
        for name, column in job.columns.items():
            cell = fields.get(column)
            if cell is not None and cell != "":
                given[name] = _as_field(cell, types[name], f"{column!r}")
        if job.rest is not None:
            given[job.rest] = _others(row, known, kinds, texts=texts)
        return make(**{id_name: row.user_id, **given})

    return ask


def _as_field(cell: object, kind: Any, where: str) -> Any:
    """Return a cell as a field's type has it: 3 out of "3", several values out of "a,b"."""
    for read in _readings(cell):
        try:
            return msgspec.convert(read, kind, strict=False)
        except msgspec.ValidationError as error:
            said = str(error)
    raise ConfigError(f"the cell under {where} cannot be used: {said}")


def _readings(cell: object) -> tuple[Any, ...]:
    """Return what a cell may mean, the likeliest first."""
    if not isinstance(cell, str):
        return cell, str(cell)
    if cell.startswith("{"):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(cell), cell
    several = tuple(part.strip() for part in cell.split(","))
    return (several, cell) if len(several) > 1 else (cell, several)


def _others(row: Row, known: set[str], kinds: Mapping[str, Kind], *, texts: bool) -> dict[str, Any]:
    others = {
        name: cell_of_kind(cell, kinds[name]) if texts else cell
        for name, cell in row.fields.items()
        if name not in known and cell is not None and cell != ""
    }
    if not others:
        raise ConfigError("the row sets nothing")
    return others
