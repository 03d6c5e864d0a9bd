"""Escapes characters that could drive a terminal or hide text in a log."""

import re
import unicodedata

__all__ = ["printable", "printable_json"]

# Control characters, format characters (bidi, zero width), lone surrogates, unassigned characters, and
# the Unicode line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})

# Up to 0x1f, JSON escapes control characters in strings itself, and uses them as white space elsewhere.
_BEYOND_JSON = re.compile(r"[^\x00-\x7e]")


def printable(text: str) -> str:
    r"""Escape control and format characters, as in ``\x1b``; line breaks and tabs, too.

    Printable text is returned unchanged, in any script.
    """
    if text.isprintable():
        return text
    return "".join(_escape(sign) if _is_unsafe(sign) else sign for sign in text)


def printable_json(text: str) -> str:
    r"""Escape control and format characters in JSON, as in ``\u202e``. The JSON decodes to the same value."""
    lines = text.split("\n")
    return "\n".join(line if line.isprintable() else _BEYOND_JSON.sub(_json_escape, line) for line in lines)


def _is_unsafe(sign: str) -> bool:
    return unicodedata.category(sign) in _UNSAFE


def _escape(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def _json_escape(found: re.Match[str]) -> str:
    sign = found[0]
    if not _is_unsafe(sign):
        return sign
    # JSON escapes are 16 bits wide: characters beyond take a surrogate pair.
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
