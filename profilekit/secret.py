"""Keys and passwords in memory, kept out of tracebacks that show the variables of each frame.

rich, Sentry and their kind print the ``repr`` of every variable of every frame, and what is in containers.
So a parameter that holds a key as plain text is deleted before an error can leave its function. What the
frames of other libraries hold is a ``Secret``. Some trackers take any ``str`` for its text, and the bytes
that travel cannot hide, so an error that anybody's code may raise at any time, a cancellation, leaves the
libraries without their frames.
"""

from typing import TypeVar

__all__ = ["Secret", "without_frames"]

E = TypeVar("E", bound=BaseException)


class Secret(str):
    """Text that shows in no ``repr``. To format it, as in ``f"{key}"``, gives the plain text."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show that there is one."""
        return "'***'"

    def __rich_repr__(self) -> tuple[()]:
        """Show nothing; without this, rich would cut a long one into plain text first."""
        return ()


def without_frames(error: E) -> E:
    """Return an error without the frames that it came through and the errors that it came of."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
