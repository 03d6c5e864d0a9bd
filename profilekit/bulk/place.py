"""Where a path leads, and a file that takes the place of another there, or a name that is free, for good."""

import errno
import os
from pathlib import Path

__all__ = ["real", "take_free_place", "take_place"]

# File systems that know no second name for a file.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def real(path: str | Path) -> Path:
    """Resolve the links of a path. For a loop of links the result is a link; ``Path.resolve`` would raise."""
    return Path(os.path.realpath(path))


def take_place(part: Path, path: Path) -> None:
    """Give a file that is complete its name, and wait until that would survive a loss of power.

    Raises:
        OSError: When it cannot.
    """
    part.replace(path)
    _keep(path.parent)


def take_free_place(part: Path, path: Path) -> None:
    """Do the same where nobody has the name.

    Raises:
        FileExistsError: When somebody has it.
        OSError: When it cannot.
    """
    try:
        path.hardlink_to(part)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        part.replace(path)
    else:
        part.unlink()
    _keep(path.parent)


def _keep(folder: Path) -> None:
    if os.name == "nt":
        # Windows has no such thing as the file of a folder.
        return
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
