"""Users who do not exist: everything about them follows from their id and a seed."""

import hashlib
import random
from functools import lru_cache
from typing import Any

__all__ = ["Person", "chance", "person"]

_CITIES = (
    ("Melbourne", "Victoria", "Australia"),
    ("Lisbon", "Lisbon", "Portugal"),
    ("Osaka", "Osaka", "Japan"),
    ("Nairobi", "Nairobi", "Kenya"),
    ("Montréal", "Québec", "Canada"),
    ("São Paulo", "São Paulo", "Brazil"),
    ("Kraków", "Lesser Poland", "Poland"),
    ("Denver", "Colorado", "United States"),
)
_DEVICES = (
    ("iOS", "Apple", "iPhone 16"),
    ("Android", "Google", "Pixel 9"),
    ("Android", "Samsung", "Galaxy S25"),
    ("Web", "Chrome", "142"),
    ("Web", "Firefox", "145"),
)
_CHOICES: dict[str, tuple[object, ...]] = {
    "plan": ("free", "starter", "pro", "enterprise"),
    "acquisition_channel": ("organic", "paid_search", "referral", "partner", "email"),
    "language": ("en", "de", "ja", "pt", "fr"),
    "newsletter": (True, False),
    "currency": ("AUD", "EUR", "JPY", "USD"),
    "onboarding_step": (1, 2, 3, 4, 5),
    "nps": (None, 3, 6, 8, 9, 10),
    "theme": ("light", "dark", "system"),
}
_TOPICS = ("search", "checkout", "export", "video", "chat", "report", "upload", "invite", "widget")
_MEASURES = ("count", "last_seen", "streak", "enabled", "share", "tier")

_YEAR = 31_536_000
_NEW_YEAR_2026 = 1_767_225_600


class Person:
    """One user.

    Attributes:
        device_id: The anonymous id.
        amplitude_id: Amplitude's own id.
        properties: 20 to 60 user properties.
        cohorts: Between none and eight cohort ids.
        city: City, region and country.
        device: Platform, maker and model.
        created: When first seen, in epoch milliseconds.
        updated: When last changed, in epoch milliseconds.
    """

    def __init__(self, seed: int, user_id: str) -> None:
        """Draw everything."""
        self._seed, self._user_id = seed, user_id
        draw = self._draw("person")
        self.device_id = f"device-{draw.getrandbits(64):016x}"
        self.amplitude_id = draw.randrange(10**11, 10**12)
        self.city = draw.choice(_CITIES)
        self.device = draw.choice(_DEVICES)
        age = draw.randrange(_YEAR)
        self.created = (_NEW_YEAR_2026 - age) * 1000
        self.updated = (_NEW_YEAR_2026 - draw.randrange(age + 1)) * 1000
        self.cohorts = tuple(sorted({f"cohort{draw.randrange(40):02d}" for _ in range(draw.randrange(9))}))
        self.properties = self._draw_properties(draw)

    def _draw(self, what: str) -> random.Random:
        digest = hashlib.blake2b(f"{self._seed}\0{what}\0{self._user_id}".encode(), digest_size=8)
        return random.Random(int.from_bytes(digest.digest()))

    def _draw_properties(self, draw: random.Random) -> dict[str, Any]:
        properties: dict[str, Any] = {name: draw.choice(values) for name, values in _CHOICES.items()}
        properties |= {"city": self.city[0], "country": self.city[2], "platform": self.device[0]}
        names = [f"{topic}_{measure}" for topic in _TOPICS for measure in _MEASURES]
        for name in draw.sample(names, draw.randrange(20, 61) - len(properties)):
            properties[name] = _value_of(name, draw)
        return properties

    def computed(self, comp_id: str) -> str:
        """Return a computed property: a number as text, as Amplitude shows them."""
        return str(self._draw(f"computation {comp_id}").randrange(1000))

    def propensity(self, prediction_id: str, kind: str) -> float:
        """Return a prediction's score from 0 to 1, or its percentile from 0 to 100."""
        draw = self._draw(f"prediction {prediction_id}")
        return round(draw.random(), 6) if kind == "score" else draw.randrange(101)

    def items(self, rec_id: str, limit: int) -> list[str]:
        """Return recommended items, the best first."""
        draw = self._draw(f"recommendation {rec_id}")
        return [
            f"item-{number:04d}" for number in draw.sample(range(10_000), min(limit, draw.randrange(3, 21)))
        ]

    def is_control(self, rec_id: str) -> bool:
        """Say whether the user is in the control group: one in ten is."""
        return self._draw(f"control {rec_id}").random() < 0.1

    def synced(self, rec_id: str) -> int:
        """Return when a recommendation was last computed, in epoch seconds."""
        return _NEW_YEAR_2026 - self._draw(f"sync {rec_id}").randrange(86_400)


def _value_of(name: str, draw: random.Random) -> object:
    if name.endswith("enabled"):
        return draw.random() < 0.5
    if name.endswith("share"):
        return round(draw.random(), 4)
    if name.endswith("tier"):
        return draw.choice(("bronze", "silver", "gold"))
    if name.endswith("last_seen"):
        return f"2025-{draw.randrange(1, 13):02d}-{draw.randrange(1, 29):02d}T{draw.randrange(24):02d}:00:00Z"
    return draw.randrange(500)


@lru_cache(maxsize=8192)
def person(seed: int, user_id: str) -> Person:
    """Return the user of an id; the same one every time, in every process."""
    return Person(seed, user_id)


def chance(seed: int, user_id: str) -> float:
    """Return a number from 0 to 1 that belongs to an id."""
    digest = hashlib.blake2b(f"{seed}\0chance\0{user_id}".encode(), digest_size=8)
    return int.from_bytes(digest.digest()) / 2**64
