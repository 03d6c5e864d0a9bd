"""Whoever watches is told, and the log; and whatever becomes of that, the work goes on."""

import asyncio
import logging
import traceback
from collections.abc import Sequence
from typing import Any

from profilekit._printable import printable
from profilekit.engine.transport import HttpRequest
from profilekit.engine.wire import with_headers
from profilekit.errors import ConfigError
from profilekit.observer import Attempt, Event, Observer

__all__ = ["Watch", "watch_of"]

_LOGGER = logging.getLogger("profilekit")

# Somebody else's, and whoever sends is not to suffer. Nothing that does not wait can be cancelled.
_RAISED = (Exception, asyncio.CancelledError)


class _Nobody:
    """Watches, and sees nothing."""

    def began(self, attempt: Attempt) -> None: ...

    def ended(self, attempt: Attempt) -> None: ...

    def changed(self, event: Event) -> None: ...


class Watch:
    """What a client tells its observer, if it has one, and the log.

    Attributes:
        sees_attempts: Whether there is anybody to be told of attempts.
    """

    def __init__(self, observer: Observer | None) -> None:
        """Take the observer.

        Raises:
            ConfigError: When it is none.
        """
        if observer is not None and not _is_observer(observer):
            raise ConfigError("ProfileClient: observer must have the methods began, ended and changed")
        self._observer: Observer = _Nobody() if observer is None else observer
        self._has_raised = False
        self.sees_attempts = observer is not None

    def began(self, attempt: Attempt, http: HttpRequest) -> HttpRequest:
        """Tell of an attempt that is about to be sent, and return it with the headers to add."""
        try:
            headers = self._observer.began(attempt)
            return with_headers(http, headers) if headers else http
        except _RAISED as error:
            self._raised(error)
            return http

    def ended(self, attempt: Attempt) -> None:
        """Tell what came of an attempt."""
        try:
            self._observer.ended(attempt)
        except _RAISED as error:
            self._raised(error)

    def changed(self, event: Event) -> None:
        """Tell of a change."""
        _LOGGER.log(event.level, "%s", printable(str(event)))
        self.tell(event)

    def tell(self, event: Event) -> None:
        """Tell the observer of a change that is in the log."""
        try:
            self._observer.changed(event)
        except _RAISED as error:
            self._raised(error)

    def _raised(self, error: BaseException) -> None:
        """Say what the observer raised, once."""
        if not self._has_raised:
            self._has_raised = True
            # Without what it was raised in the course of, which may repeat what a vendor said of a user.
            trace = "".join(traceback.format_exception(error, chain=False)).rstrip()
            text = "\n".join(printable(line) for line in trace.split("\n"))
            _LOGGER.warning("the observer raised an error; it is told of what follows all the same\n%s", text)


class _Several(Watch):
    """As many observers as one: each is told, whatever becomes of the others, and has a mark of its own."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        super().__init__(None)
        self._watches = [Watch(observer) for observer in observers]
        self.sees_attempts = any(watch.sees_attempts for watch in self._watches)

    def began(self, attempt: Attempt, http: HttpRequest) -> HttpRequest:
        marks: list[Any] = []
        try:
            for watch in self._watches:
                attempt.mark = None
                http = watch.began(attempt, http)
                marks.append(attempt.mark)
        finally:
            # Who was told of its begin will be told of its end.
            attempt.mark = marks
        return http

    def ended(self, attempt: Attempt) -> None:
        for watch, mark in zip(self._watches, attempt.mark, strict=False):
            attempt.mark = mark
            watch.ended(attempt)

    def tell(self, event: Event) -> None:
        for watch in self._watches:
            watch.tell(event)


def _is_observer(candidate: object) -> bool:
    # From Python 3.12 on, isinstance() with a protocol does not see methods that __getattr__ provides.
    methods = (getattr(candidate, name, None) for name in ("began", "ended", "changed"))
    return not isinstance(candidate, type) and all(map(callable, methods))


def watch_of(observer: Observer | Sequence[Observer] | None) -> Watch:
    """Return what tells an observer, several, or nobody.

    Raises:
        ConfigError: When one of them is none.
    """
    return _Several(observer) if isinstance(observer, Sequence) else Watch(observer)
