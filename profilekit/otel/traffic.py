"""What came of attempts, counted by where they went: cheap to add to, and read when somebody collects."""

from typing import TypeAlias

from profilekit.observer import Route

__all__ = ["Attributes", "Outcome", "Target", "Traffic"]

Attributes: TypeAlias = dict[str, str | int | float | bool]


class Outcome:
    """Attempts on one route that came to the same.

    Attributes:
        attributes: What says so; one object for all of them.
        count: How many there were.
        seconds: How long they took, together.
    """

    __slots__ = ("attributes", "count", "seconds")

    def __init__(self, attributes: Attributes) -> None:
        """Start with none."""
        self.attributes = attributes
        self.count = 0
        self.seconds = 0.0


class Target:
    """Where attempts go.

    Attributes:
        name: What a span of one is called.
        attributes: What is known of them before they are sent.
        active: How many are under way.
        outcomes: What they came to, by status and error.
    """

    __slots__ = ("active", "attributes", "name", "outcomes")

    def __init__(self, route: Route) -> None:
        """Start with none."""
        self.name = f"{route.method} {route.url_template}"
        self.attributes: Attributes = {
            "http.request.method": route.method,
            "server.address": route.server_address,
            "server.port": route.server_port,
            "url.template": route.url_template,
        }
        self.active = 0
        self.outcomes = _Outcomes(self.attributes)


class _Outcomes(dict[tuple[int | None, str | None], Outcome]):
    """Outcomes by status and error; one that is asked for is there."""

    def __init__(self, attributes: Attributes) -> None:
        super().__init__()
        self._attributes = attributes

    def __missing__(self, key: tuple[int | None, str | None]) -> Outcome:
        outcome = self[key] = Outcome({**self._attributes, **_came_to(*key)})
        return outcome


def _came_to(status: int | None, error: str | None) -> Attributes:
    found: Attributes = {}
    if status is not None:
        found["http.response.status_code"] = status
    if error is not None:
        # A success that the vendor means as an error has the status of a success.
        found["error.type"] = str(status) if status is not None and status >= 300 else error
    return found


class Traffic(dict[Route, Target]):
    """All attempts of a process, by where they go. It may be read while another thread counts."""

    def __missing__(self, route: Route) -> Target:
        """Return the target of a route that is new."""
        target = self[route] = Target(route)
        return target

    @property
    def targets(self) -> list[Target]:
        """Where attempts went so far."""
        return list(self.values())

    @property
    def outcomes(self) -> list[Outcome]:
        """What they came to so far."""
        return [outcome for target in self.targets for outcome in list(target.outcomes.values())]
