"""Keys and passwords in memory, kept out of tracebacks that show the variables of each frame.

Error trackers such as Sentry, and rich, print the ``repr`` of every variable of every frame, and of what
is in containers. Three rules follow:

* A parameter that holds a key as plain text is deleted before an error can leave its function.
* A header value that is passed to another library is a ``Secret``, because its frames hold the value.
* A cancellation, which the caller may cause at any time, is raised again without the frames of the other
  library: some trackers print the text of any ``str``, and the encoded bytes of a request cannot be hidden.
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
    """Return an error without its traceback, its cause and its context."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
