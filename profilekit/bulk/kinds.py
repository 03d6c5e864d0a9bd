"""What the columns of a list hold: found out from all of their values, so that a column is of one kind."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

__all__ = ["Kind", "Kinds", "cell_of_kind"]

Kind: TypeAlias = Literal["bool", "int", "float", "text", "json"]

# 007 is no number: it would come out as another text.
_INT = re.compile(r"-?(?:0|[1-9][0-9]{0,18})").fullmatch
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+(?:[eE][+-]?[0-9]{1,2})?|[eE][+-]?[0-9]{1,2})").fullmatch
_BOOLS = {"true": True, "false": False}

# Beyond this, a float is another number than the whole one that was written.
_EXACT = 2**53
_INT64 = 2**63

_Found: TypeAlias = Kind | Literal["large"]
"""A kind, or whole numbers that no float can take."""


class Kinds:
    """Sees values, and says of what kind each column is.

    A column of whole numbers is ``int``; with others among them ``float``; what is mixed otherwise is
    ``text`` where all of it came as text, and else ``json``.
    """

    def __init__(self, *, texts: bool) -> None:
        """Start with nothing seen.

        Args:
            texts: Whether values come as text (CSV), and what they say decides.
        """
        self._kind_of = _kind_of_text if texts else _kind_of_value
        self._mixed: Kind = "text" if texts else "json"
        self._found: dict[str, _Found | None] = {}

    def see(self, fields: Mapping[str, Any]) -> None:
        """Take the values of one row."""
        found = self._found
        for name, value in fields.items():
            known = found.get(name)
            if known == self._mixed:
                continue
            kind = self._kind_of(value)
            if kind != known:
                found[name] = self._together(known, kind)

    def _together(self, known: _Found | None, kind: _Found | None) -> _Found | None:
        if known is None or kind is None:
            return known or kind
        both = {known, kind}
        if both == {"int", "large"}:
            return "large"
        return "float" if both == {"int", "float"} else self._mixed

    def of(self, names: Iterable[str]) -> dict[str, Kind]:
        """Return the kinds of columns; one without any value is of the kind that takes all."""
        found = {name: self._found.get(name) or self._mixed for name in names}
        return {name: "int" if kind == "large" else kind for name, kind in found.items()}


def _kind_of_text(text: object) -> _Found | None:
    if not isinstance(text, str) or not text:
        return None
    if _INT(text):
        kind = _kind_of_int(int(text))
        return "text" if kind == "json" else kind
    if _FLOAT(text):
        return "float"
    return "bool" if text.lower() in _BOOLS else "text"


def _kind_of_value(value: object) -> _Found | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return _kind_of_int(value)
    if isinstance(value, float):
        return "float"
    return "text" if isinstance(value, str) else "json"


def _kind_of_int(number: int) -> _Found:
    if -_EXACT <= number <= _EXACT:
        return "int"
    return "large" if -_INT64 <= number < _INT64 else "json"


def cell_of_kind(cell: str, kind: Kind) -> Any:
    """Return what a cell of a text says, as its column's kind has it."""
    if kind == "int":
        return int(cell)
    if kind == "float":
        return float(cell)
    return _BOOLS[cell.lower()] if kind == "bool" else cell
