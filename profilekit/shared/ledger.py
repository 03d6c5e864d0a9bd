"""The account book of a shared quota, in Redis: one script, and a channel that tells of pauses."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from importlib.resources import files
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.secret import without_frames

__all__ = ["PATIENCE", "Answer", "Ledger", "LedgerError", "Question", "check_usable"]

_SCRIPT = files(__package__).joinpath("quota.lua").read_text()
_MICRO = 1_000_000

# What takes longer than this is no help to callers who wait.
PATIENCE = 0.5
"""How many seconds the ledger has to answer."""

# In less than the first of these, there is no time to ask; the script counts no further than the other.
_SHORTEST_WINDOW, _LONGEST_WINDOW = 0.1, 1e8


class Place(Protocol):
    """What knows a URL and is handed on in its place: error trackers show the variables of frames."""

    @property
    def url(self) -> str:
        """Where Redis is, with the password."""
        ...


class LedgerError(Exception):
    """The ledger did not answer; the text says why, and holds nothing of the URL."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a process tells the ledger and wants of it. Times in seconds.

    Attributes:
        state: The state that the process knows; empty for none.
        wanted: How many permits.
        lead: After how long it can use the first.
        ahead: How much of the quota, as time, to hand out at once.
        share: The share that it holds for when the ledger does not answer, from 0 to 1.
        alone: Whether it sent by itself until now.
        pause: For how long the vendor wants a pause; 0 for none.
        stay: For how long it is a member; 0 to leave.
        changes: By slot, how many requests left without a permit of this ledger; less than 0 for permits
            that come back.
    """

    state: str
    wanted: int = 0
    lead: float = 0.0
    ahead: float = 0.0
    share: float = 0.0
    alone: bool = False
    pause: float = 0.0
    stay: float = 0.0
    changes: Mapping[int, int] = {}


class Answer(msgspec.Struct, frozen=True):
    """What the ledger says. Times are on its clock, in seconds.

    Attributes:
        now: When it answered.
        state: The state that it keeps; another than before if it has lost that.
        cold_until: Until when it knows too little to hand out permits.
        paused_until: Until when the vendor wants no requests.
        share: What this process may use when the ledger does not answer, from 0 to 1.
        at_work: How many processes want permits.
        part: The part of the quota that is used, from 0 to 1.
        permits: How many permits of which slot.
    """

    now: float
    state: str
    cold_until: float
    paused_until: float
    share: float
    at_work: int
    part: float
    permits: dict[int, int]


class Ledger:
    """Asks the script, as one member.

    Attributes:
        slot: The length of a slot in seconds.
    """

    def __init__(self, place: Place, key: str, rate: Rate) -> None:
        """Connect when it is asked first.

        Args:
            place: Where Redis is.
            key: What its keys start with; the part in braces keeps them together in a cluster.
            rate: The quota.

        Raises:
            ConfigError: When its window is too short or too long to be shared.
        """
        if not _SHORTEST_WINDOW <= rate.per <= _LONGEST_WINDOW:
            wrong = "short" if rate.per < _SHORTEST_WINDOW else "long"
            raise ConfigError(f"RedisQuota: a window of {rate.per:g} s is too {wrong} to be shared")
        per = int(rate.per * _MICRO)
        # As in the script.
        self.slot = per // 500 / _MICRO
        self._rate, self._per = rate, per
        self._keys = [key, *(f"{key}:{part}" for part in ("slots", "members", "at-work", "shares"))]
        self._id = uuid4().hex
        self._redis = _client(place)
        self._ask = self._redis.register_script(_SCRIPT)

    async def ask(self, question: Question) -> Answer:
        """Ask once.

        Raises:
            LedgerError: When there is no answer; the question may have been acted on all the same.
        """
        arguments: list[Any] = [
            self._id,
            question.state,
            self._rate.requests,
            self._per,
            question.wanted,
            int(question.lead * _MICRO),
            int(question.ahead * _MICRO),
            int(question.share * _MICRO),
            int(question.alone),
            int(question.pause * _MICRO),
            int(question.stay * _MICRO),
            *(number for change in question.changes.items() for number in change),
        ]
        failure: LedgerError | asyncio.CancelledError
        try:
            async with asyncio.timeout(PATIENCE):
                return _answer(await self._ask(keys=self._keys, args=arguments))
        except asyncio.CancelledError as error:
            failure = without_frames(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is no answer
            failure = LedgerError(_why(error))
        # Outside of the handlers, so that none of redis-py's frames goes along: they hold the password.
        if isinstance(failure, LedgerError):
            # Where one connection is broken, the others are.
            with suppress(Exception):
                await self._redis.connection_pool.disconnect(inuse_connections=False)
        raise failure

    async def pauses(self) -> AsyncIterator[float]:
        """Yield until when the vendor wants no requests, on the ledger's clock, whenever somebody says so.

        Raises:
            LedgerError: When the connection breaks.
        """
        channel = self._redis.pubsub(ignore_subscribe_messages=True)
        try:
            await channel.subscribe(self._keys[0])
            async for message in channel.listen():
                yield int(message["data"]) / _MICRO
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is heard any more
            raise LedgerError(_why(error)) from None
        finally:
            with suppress(Exception):
                await channel.aclose()

    async def close(self) -> None:
        """Close the connections."""
        with suppress(Exception):
            await self._redis.aclose()


def _answer(told: list[Any]) -> Answer:
    now, state, cold, paused, share, at_work, part, *pairs = told
    return Answer(
        now / _MICRO,
        state,
        cold / _MICRO,
        paused / _MICRO,
        share / _MICRO,
        at_work,
        part / _MICRO,
        dict(zip(pairs[::2], pairs[1::2], strict=True)),
    )


def check_usable(place: Place) -> None:
    """Refuse what redis-py cannot use.

    Raises:
        ConfigError: When redis-py is not installed, or cannot read the URL; says nothing of what is in it.
    """
    try:
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("a quota in Redis needs redis-py: pip install 'profilekit[redis]'") from None
    with suppress(Exception):
        # That does not connect. The pool is in no variable: it may show the password.
        pools: Any = ConnectionPool
        pools.from_url(place.url).make_connection()
        return
    raise ConfigError("RedisQuota: the url must be such as redis://host:6379/0, rediss://..., unix://...")


def _client(place: Place) -> Any:
    from redis.asyncio import Redis  # noqa: PLC0415 - an extra
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    over_tcp = {} if place.url.startswith("unix:") else {"socket_keepalive": True}
    # Whoever asks says what to do when there is no answer.
    never = Retry(NoBackoff(), 0)
    return Redis.from_url(place.url, decode_responses=True, retry=never, **over_tcp)


def _why(error: Exception) -> str:
    """Say what is wrong in our own words: those of others may hold what must not be shown."""
    from redis import exceptions  # noqa: PLC0415 - an extra

    text = str(error)
    reasons = (
        (exceptions.AuthenticationError, "", "it refuses the user or the password"),
        (exceptions.NoPermissionError, "", "the user may not run the script, or not on these keys"),
        (exceptions.ReadOnlyError, "", "it is a replica that cannot be written to"),
        (exceptions.ResponseError, "READONLY", "it is a replica that cannot be written to"),
        (exceptions.BusyLoadingError, "", "it is loading its data"),
        (exceptions.ResponseError, "OOM", "its memory is full"),
        (exceptions.ResponseError, "WINDOW", "another process gave this name a window of another length"),
        (exceptions.ResponseError, "NOAUTH", "it wants a password"),
        ((TimeoutError, exceptions.TimeoutError), "", "it does not answer in time"),
        ((OSError, exceptions.ConnectionError), "", "it cannot be reached"),
    )
    for kinds, part, reason in reasons:
        if isinstance(error, kinds) and part in text:
            return reason
    return f"it answers with an error ({type(error).__name__})"
