"""What an actor does with a batch of rows, over one client for as long as it lives."""

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from typing import Any, TypeVar

from profilekit.bulk.rows import user_id_of
from profilekit.client import ProfileClient
from profilekit.ray.asking import Asking
from profilekit.ray.columns import check_free, layout_of, with_answers
from profilekit.ray.parcel import Parcel
from profilekit.ray.plan import Plan

__all__ = ["Worker"]

T = TypeVar("T")


class Worker:
    """Adds profiles to batches. Several threads may hand it a batch each at the same time.

    Ray Data would run coroutines on a loop that it blocks while it waits for rows, so the client has
    an event loop in a thread of its own.
    """

    def __init__(self, parcel: Parcel) -> None:
        """Open the client.

        Raises:
            QuotaUnavailableError: When what keeps the quota does not answer.
        """
        plan = parcel.open()
        self._id_column = plan.id_column
        self._layout = layout_of(plan.into, plan.properties, plan.prefix)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=_serve, args=[self._loop], name="profilekit", daemon=True).start()
        try:
            self._asking = self._run(_opened(plan))
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        # With the actor, or the process; one that is killed leaves it to the vendor's side.
        weakref.finalize(self, _close, self._asking.client, self._loop)

    def __call__(self, table: Any) -> Any:
        """Return a batch, an Arrow table, with what became of its rows.

        Raises:
            ConfigError: When it has a column of the name of an added one.
        """
        check_free(self._layout, table.column_names)
        named = self._id_column in table.column_names
        cells = table[self._id_column].to_pylist() if named else [None] * table.num_rows
        users = [user_id_of(cell) for cell in cells]
        place_of = {user: place for place, user in enumerate(dict.fromkeys(users))}
        answers = self._run(self._asking.about(place_of))
        return with_answers(
            table, self._layout, [answers[user] for user in place_of], [place_of[user] for user in users]
        )

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _opened(plan: Plan) -> Asking:
    client = plan.client(plan.account, quota=plan.quota)
    return Asking(plan, await client.__aenter__())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _close(client: ProfileClient, loop: asyncio.AbstractEventLoop) -> None:
    asyncio.run_coroutine_threadsafe(client.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
