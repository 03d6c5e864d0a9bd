"""Cells of a CSV that a spreadsheet would run as formulas."""

import re

__all__ = ["without_formula"]

# The signs are those that OWASP lists, in full width, too; spreadsheets skip what stands before them here.
_FORMULA = re.compile("[\\s\\x00-\\x1f\ufeff]*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r\n]")

_NEGATIVE = re.compile(r"-[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")


def without_formula(text: str) -> str:
    """Return the text of a cell, behind an apostrophe where a spreadsheet would run it; numbers stay."""
    is_formula = _FORMULA.match(text) and not _NEGATIVE.fullmatch(text)
    return f"'{text}" if is_formula else text
