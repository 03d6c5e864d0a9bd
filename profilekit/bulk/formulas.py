"""Keeps spreadsheets from running cells of a CSV as formulas."""

import re

__all__ = ["without_formula"]

# The characters that OWASP lists, with their full-width forms; spreadsheets skip leading white space.
_FORMULA = re.compile("[\\s\\x00-\\x1f\ufeff]*[=+@\uff1d\uff0b\uff0d\uff20-]|[\t\r\n]")

_NEGATIVE = re.compile(r"-[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?")


def without_formula(text: str) -> str:
    """Return the text of a cell, with an apostrophe before a formula. Negative numbers are no formulas."""
    is_formula = _FORMULA.match(text) and not _NEGATIVE.fullmatch(text)
    return f"'{text}" if is_formula else text
