"""A file that takes the place of another, or a name that is free, for good."""

import os
from pathlib import Path

__all__ = ["take_place"]


def take_place(part: Path, path: Path) -> None:
    """Give a file that is complete its name, and wait until that would survive a loss of power.

    Raises:
        OSError: When it cannot.
    """
    part.replace(path)
    if os.name == "nt":
        # Windows has no such thing as the file of a folder.
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
