"""The header fields of raw answers."""

from collections.abc import Iterator, Mapping

__all__ = ["Fields", "encoding_of"]

_LENGTH = len("content-encoding")


class Fields(Mapping[str, str]):
    """Header fields as they came; decoded only if somebody looks, which after a success nobody does."""

    __slots__ = ("raw",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """Take the fields as they came."""
        self.raw = raw

    def __getitem__(self, name: str) -> str:
        """Return the first field of a name, in whatever case."""
        wanted = name.lower().encode("latin-1")
        for found, value in self.raw:
            if found.lower() == wanted:
                return value.decode("latin-1")
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in lower case."""
        return iter(dict.fromkeys(name.lower().decode("latin-1") for name, _ in self.raw))

    def __len__(self) -> int:
        """Count the names."""
        return len({name.lower() for name, _ in self.raw})


def encoding_of(headers: Fields) -> str | None:
    """Return how the body is compressed, if it is: the value of Content-Encoding."""
    found: str | None = None
    for name, value in headers.raw:
        # Every answer is asked this, so the cheapest comparison comes first.
        if len(name) == _LENGTH and name.lower() == b"content-encoding":
            text = value.decode("latin-1")
            found = text if found is None else f"{found},{text}"
    return found
