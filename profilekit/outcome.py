"""What became of one request."""

from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from profilekit.errors import ProfileKitError

__all__ = ["Failed", "Ok", "Outcome"]

R_co = TypeVar("R_co", covariant=True)


class Ok(msgspec.Struct, Generic[R_co], frozen=True, gc=False):
    """The request succeeded.

    Attributes:
        request: The request, as it was given.
        value: The decoded answer.
    """

    # Any, as no type checker can tell the class of the request from that of its answer.
    request: Any
    value: R_co


class Failed(msgspec.Struct, frozen=True):
    """The request came to nothing.

    Attributes:
        request: The request, as it was given.
        error: Why: a ``RequestError``, or a ``ConfigError`` when it could not be sent at all.
    """

    request: Any
    error: ProfileKitError


Outcome: TypeAlias = Ok[R_co] | Failed
