"""Whether an answer is about the user that was asked for.

HTTP/1.1 matches answers to requests by their order alone. A server, or a proxy before it, that sends one
answer too many shifts all that follow on that connection, so each answer is compared with its request.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

from profilekit.engine.transport import HttpResponse
from profilekit.errors import WrongUserError
from profilekit.request import Account, Endpoint, Request, result_type, title

__all__ = ["IdentityCheck"]

_Ids: TypeAlias = frozenset[str]

# Aliases that are remembered, so that each costs a second request only once.
_MOST_ALIASES = 10_000


class IdentityCheck:
    """Compares the answers that one account gets with the requests that they are for."""

    def __init__(self, account: Account) -> None:
        """Start with no alias known.

        Args:
            account: Says whether a user may have aliases.
        """
        self._accepts_aliases = account.accept_aliases
        self._aliases: OrderedDict[tuple[_Ids, _Ids], None] = OrderedDict()
        self._readers: dict[type[Request[Any]], _IdReader] = {}

    def check(self, request: Request[Any], response: HttpResponse) -> None:
        """Refuse a success about another user, or of another endpoint, and close its connection.

        Args:
            request: The request.
            response: A success with a body.

        Raises:
            WrongUserError: When it names only ids that were not asked for, or has no member of the
                endpoint's answers.
        """
        kind = type(request)
        reader = self._readers.get(kind) or self._readers.setdefault(kind, _IdReader(kind))
        if reader.confirms(request, response.body):
            return
        asked, named = reader.asked(request), reader.named(response.body)
        if not asked.isdisjoint(named) or (named and self._is_alias(asked, named)):
            return
        if not named and not reader.is_foreign(response.body):
            return
        response.discard()
        raise WrongUserError(
            f"{title(request)}: the answer is about another user than the one asked for; if the vendor "
            f"answers under another id of the same user, set accept_aliases=True on the account"
        )

    def _is_alias(self, asked: _Ids, named: _Ids) -> bool:
        """Return True if an earlier answer, over a connection that is closed, named the same ids."""
        if not self._accepts_aliases:
            return False
        if (asked, named) in self._aliases:
            return True
        self._aliases[asked, named] = None
        if len(self._aliases) > _MOST_ALIASES:
            self._aliases.popitem(last=False)
        return False


class _IdReader:
    """Reads the ids of requests of one class, and of their answers."""

    def __init__(self, request: type[Request[Any]]) -> None:
        endpoint = request.endpoint
        self._fields = endpoint.ids if endpoint.answer_ids else ()
        self._keys = [
            (field, f'"{key}":"'.encode(), f'"{key}": "'.encode())
            for field, key in zip(self._fields, endpoint.answer_ids, strict=False)
        ]
        self._depth = 1 if endpoint.unwrap is None else 2
        self._decode = msgspec.json.Decoder(_ids_type(endpoint)).decode
        self._members = _members_of(request)

    def confirms(self, request: Request[Any], body: bytes) -> bool:
        """Return True if the body surely names an id of the request, or nothing is to be compared.

        It looks for the text of the member, outside of every other object. To decode costs ten times that.
        """
        for field, compact, spaced in self._keys:
            user_id = getattr(request, field)
            if type(user_id) is str and '"' not in user_id and "\\" not in user_id:
                text = user_id.encode() + b'"'
                at = body.find(compact + text)
                if at < 0:
                    at = body.find(spaced + text)
                return at >= 0 and body.count(b"{", 0, at) == self._depth
        return not self._keys

    def asked(self, request: Request[Any]) -> _Ids:
        """Return the ids of a request."""
        return frozenset(_texts(getattr(request, field) for field in self._fields))

    def named(self, body: bytes) -> _Ids:
        """Return the ids that an answer names; none where it cannot be read, which the decoder reports."""
        try:
            return frozenset(_texts([self._decode(body)]))
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return frozenset()

    def is_foreign(self, body: bytes) -> bool:
        """Return True if an answer has members, and none of those that the endpoint's answers have."""
        try:
            found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            return False
        return bool(found and self._members) and self._members.isdisjoint(found)


def _members_of(request: type[Request[Any]]) -> frozenset[str]:
    """Return the members that an answer may have, as far as its type names them."""
    if request.endpoint.unwrap is not None:
        return frozenset({request.endpoint.unwrap})
    answer = result_type(request)
    is_struct = isinstance(answer, type) and issubclass(answer, msgspec.Struct)
    return frozenset(answer.__struct_encode_fields__ if is_struct else ())


def _ids_type(endpoint: Endpoint) -> Any:
    """Return a type that holds nothing of an answer but the members that name its user."""
    names = [(f"id_{place}", key) for place, key in enumerate(endpoint.answer_ids)]
    ids = msgspec.defstruct(
        "Ids", [(name, Any, msgspec.field(name=key, default=None)) for name, key in names]
    )
    if endpoint.unwrap is None:
        return ids
    wrapped = msgspec.field(name=endpoint.unwrap, default=None)
    return msgspec.defstruct("WrappedIds", [("ids", ids | None, wrapped)])


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield ids as text, those in lists and Structs too. A missing id is None or empty."""
    for value in values:
        if isinstance(value, msgspec.Struct):
            yield from _texts(msgspec.structs.astuple(value))
        elif isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, str | int) and value != "":
            yield str(value)
