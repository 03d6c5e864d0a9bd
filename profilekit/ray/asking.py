"""Profiles of many users over one client, and patience with a vendor that is down."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeGuard

import msgspec

from profilekit.bulk.journal import Was
from profilekit.bulk.sending import picked, record
from profilekit.client import ProfileClient
from profilekit.errors import (
    ConfigError,
    DecodeError,
    ProfileKitError,
    QuotaUnavailableError,
    TransportError,
    VendorUnavailableError,
)
from profilekit.outcome import Failed, Outcome
from profilekit.ray.plan import Plan
from profilekit.request import Request

__all__ = ["Asking", "User"]

User: TypeAlias = str | None
"""An id; None where a row names nobody."""

_LOGGER = logging.getLogger("profilekit")

# After an outage has begun, in seconds; the client says when it looks again, and mostly that is later.
_SHORTEST_WAIT = 1.0


class Asking:
    """Asks, for as long as its client is open.

    Attributes:
        client: What sends.
    """

    def __init__(self, plan: Plan, client: ProfileClient) -> None:
        """Take what to ask, and a client that is open."""
        self.client = client
        self._plan = plan
        self._encode = picked(plan.properties) if plan.properties else msgspec.json.encode
        self._now = asyncio.get_running_loop().time
        self._away_since: float | None = None

    async def about(self, users: Iterable[User]) -> dict[User, Was]:
        """Return the value, or else the error, of each user, as JSON."""
        answers: dict[User, Was] = {}
        left: dict[User, Request[Any]] = {}
        for user in users:
            try:
                left[user] = self._request(user)
            except ConfigError as error:
                answers[user] = None, record(error)
        while left:
            left = await self._round(left, answers)
        return answers

    def _request(self, user: User) -> Request[Any]:
        if user is None:
            raise ConfigError(f"the row has no {self._plan.id_column!r} that is text or a whole number")
        return self._plan.request(user)

    async def _round(
        self, requests: dict[User, Request[Any]], answers: dict[User, Was]
    ) -> dict[User, Request[Any]]:
        """Send requests and note what they come to; return those that had to wait, when they may go."""
        users = {id(request): user for user, request in requests.items()}
        held: dict[User, Request[Any]] = {}
        wait = _SHORTEST_WAIT
        async with self.client.stream(requests.values(), into=self._plan.into) as outcomes:
            async for outcome in outcomes:
                user = users[id(outcome.request)]
                if self._is_held(outcome):
                    held[user] = outcome.request
                    wait = max(wait, getattr(outcome.error, "retry_after", None) or 0.0)
                else:
                    answers[user] = self._answer(outcome)
        if held:
            await asyncio.sleep(wait)
        return held

    def _is_held(self, outcome: Outcome[Any]) -> TypeGuard[Failed]:
        """Say whether a request came to nothing through no fault of its own, so that it had better wait."""
        if not (isinstance(outcome, Failed) and self._is_away(outcome.error)):
            self._away_since = None
            return False
        if self._away_since is None:
            self._away_since = self._now()
            _LOGGER.warning("%s: rows wait up to %g s", type(outcome.error).__name__, self._plan.patience)
        return self._now() - self._away_since < self._plan.patience

    def _is_away(self, error: ProfileKitError) -> bool:
        """Say whether an error shows that there is nobody to ask."""
        if not isinstance(error, QuotaUnavailableError | VendorUnavailableError | TransportError):
            return False
        # What never left, did not because somebody is known to be away.
        return error.attempts == 0 or any(
            lane.breaker == "open" for lane in self.client.stats().vendors.values()
        )

    def _answer(self, outcome: Outcome[Any]) -> Was:
        if isinstance(outcome, Failed):
            return None, record(outcome.error)
        try:
            return self._encode(outcome.value), None
        except DecodeError as error:
            return None, record(error)
