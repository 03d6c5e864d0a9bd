"""Text from outside as it may reach a terminal or a log: nothing in it acts, reorders or hides."""

import re
import unicodedata

__all__ = ["printable", "printable_json"]

# Control characters, format characters (bidi, zero width), halves of characters, characters that this
# Python does not know yet, and the separators that end a line for some readers and not for others.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})

# JSON writes control characters up to 0x1f as escapes itself; outside of its texts they are white space.
_BEYOND_JSON = re.compile(r"[^\x00-\x7e]")


def printable(text: str) -> str:
    r"""Return a text with every character that could drive a terminal written out, as ``\x1b``.

    What is printable already comes back as it is, in any script. Line breaks and tabs are written out, too.
    """
    if text.isprintable():
        return text
    return "".join(_escape(sign) if _is_unsafe(sign) else sign for sign in text)


def printable_json(text: str) -> str:
    r"""Return JSON that reads as the same value, with such characters within its texts as ``\u202e``."""
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
    # JSON has escapes of 16 bits only: what lies beyond takes two of them.
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
