"""Every row of a table with its profile, or with why there is none."""

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import msgspec

from profilekit.bulk.rows import Row, Table
from profilekit.client import ProfileClient
from profilekit.errors import ConfigError, ProfileKitError
from profilekit.outcome import Failed, Outcome
from profilekit.request import Request

__all__ = ["Enriched", "enrich"]


class Enriched(msgspec.Struct, frozen=True):
    """A row and what became of it: a profile or an error, and never both."""

    row: Row
    profile: Any = None
    error: ProfileKitError | None = None


async def enrich(
    client: ProfileClient, table: Table, ask: Callable[[str], Request[Any]]
) -> AsyncGenerator[Enriched, None]:
    """Yield every row of a table, in order, with its profile or its error.

    An id that comes again is not fetched again. Memory holds the window of the client, the ids, and
    the profiles of those that will come again.

    Args:
        client: What sends.
        table: The rows.
        ask: Makes the request for a user id; a ConfigError that it raises is the error of the row.

    Raises:
        ClientClosedError: When the client closes meanwhile.
        ConfigError: When the table has changed since it was opened.
    """
    again = table.repeats.copy()
    kept: dict[str, Outcome[Any]] = {}
    rows = 0
    async with client.stream(_firsts(table, ask), ordered=True) as outcomes:
        for row in table:
            rows += 1
            request = _request_of(row, ask)
            if isinstance(request, ProfileKitError):
                yield Enriched(row, error=request)
                continue
            user_id = row.user_id or ""
            outcome = kept[user_id] if user_id in kept else await anext(outcomes)
            if again[user_id]:
                kept[user_id] = outcome
                again[user_id] -= 1
            else:
                kept.pop(user_id, None)
            if isinstance(outcome, Failed):
                yield Enriched(row, error=outcome.error)
            else:
                yield Enriched(row, profile=outcome.value)
    if rows != table.rows:
        raise ConfigError(f"the input changed while it was read: {table.rows} rows became {rows}")


def _firsts(table: Table, ask: Callable[[str], Request[Any]]) -> Iterator[Request[Any]]:
    """Yield the request of every row whose id has not come before."""
    seen: set[str] = set()
    for row in table:
        request = _request_of(row, ask)
        if isinstance(request, Request) and row.user_id is not None and row.user_id not in seen:
            if table.repeats[row.user_id]:
                seen.add(row.user_id)
            yield request


def _request_of(row: Row, ask: Callable[[str], Request[Any]]) -> Request[Any] | ConfigError:
    if row.user_id is None:
        return ConfigError(row.problem or "the row names no user")
    try:
        return ask(row.user_id)
    except ConfigError as error:
        return error.with_traceback(None)
