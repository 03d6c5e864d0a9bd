"""Whoever watches is told, and the log; and whatever becomes of that, the work goes on."""

import logging
import traceback

from profilekit.engine.transport import HttpRequest
from profilekit.engine.wire import with_headers
from profilekit.errors import ConfigError
from profilekit.observer import Attempt, Event, Observer

__all__ = ["Watch"]

_LOGGER = logging.getLogger("profilekit")


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
        if observer is not None and (isinstance(observer, type) or not isinstance(observer, Observer)):
            raise ConfigError("ProfileClient: observer must have the methods began, ended and changed")
        self._observer: Observer = observer or _Nobody()
        self._has_raised = False
        self.sees_attempts = observer is not None

    def began(self, attempt: Attempt, http: HttpRequest) -> HttpRequest:
        """Tell of an attempt that is about to be sent, and return it with the headers to add."""
        try:
            headers = self._observer.began(attempt)
            return with_headers(http, headers) if headers else http
        except Exception as error:  # noqa: BLE001 - somebody else's, and whoever sends is not to suffer
            self._raised(error)
            return http

    def ended(self, attempt: Attempt) -> None:
        """Tell what came of an attempt."""
        try:
            self._observer.ended(attempt)
        except Exception as error:  # noqa: BLE001 - as above
            self._raised(error)

    def changed(self, event: Event) -> None:
        """Tell of a change."""
        _LOGGER.log(event.level, "%s", event)
        try:
            self._observer.changed(event)
        except Exception as error:  # noqa: BLE001 - as above
            self._raised(error)

    def _raised(self, error: Exception) -> None:
        """Say what the observer raised, once."""
        if not self._has_raised:
            self._has_raised = True
            # Without what it was raised in the course of, which may repeat what a vendor said of a user.
            text = "".join(traceback.format_exception(error, chain=False)).rstrip()
            _LOGGER.warning("the observer raised an error; it is told of what follows all the same\n%s", text)
