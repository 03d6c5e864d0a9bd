"""The text that a command was asked for: the one thing whose writing decides how the command ends."""

import click

__all__ = ["print_product"]

_STDOUT = 1


def print_product(text: str | bytes) -> None:
    """Write text and a line break to standard output.

    A reader that has left ends the command with success: it has seen all that it wanted.

    Raises:
        OSError: When standard output is closed, or takes no more.
    """
    data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    try:
        # Not by way of sys.stdout, which would keep what it could not write, and fail once more at the end.
        with open(_STDOUT, "wb", closefd=False) as out:
            out.write(data + b"\n")
    except BrokenPipeError:
        raise click.exceptions.Exit(0) from None
    except OSError as error:
        error.filename = "standard output"
        raise
