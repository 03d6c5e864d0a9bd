"""Where a path leads, and a file that takes the place of another there, or a name that is free, for good."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import IO

from profilekit.errors import ConfigError
from profilekit.locking import remove_leftover

__all__ = ["PRIVATE", "part_of", "remove_parts", "resolved", "take_free_place", "take_place", "whole"]

# Permissions of a file that only its owner can read.
PRIVATE = 0o600

_BUFFER = 1024 * 1024

# File systems that know no second name for a file.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def resolved(path: Path) -> Path:
    """Return a path with its symbolic links followed.

    Raises:
        ConfigError: When they lead in a circle.
    """
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise ConfigError(f"{path} is a loop of symbolic links: remove it, or name another file")
    return found


def part_of(path: Path) -> Path:
    """Return a new name for a file that is to become another when it is complete."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def remove_parts(path: Path) -> None:
    """Remove files with such names that runs have left which were killed."""
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):
        with suppress(FileNotFoundError):
            if path.exists() and left.samefile(path):
                # The same file by its first name, and locked by its owner.
                left.unlink()
            else:
                remove_leftover(left)


@contextmanager
def whole(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """Write a file beside its final name, and give it the name at the end of the block.

    Args:
        path: The final name. No other run may write it meanwhile.
        mode: The permissions of the file once it is complete.

    Raises:
        ConfigError: When it cannot be created.
        OSError: When it cannot be written.
    """
    remove_parts(path)
    part = part_of(path)
    try:
        file = open(part, "xb", buffering=_BUFFER, opener=_opened_private)  # noqa: SIM115 - entered below
    except OSError as error:
        raise ConfigError(f"cannot write to {path.parent}: {error.strerror}") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.chmod(mode)
        take_place(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise


def _opened_private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


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
