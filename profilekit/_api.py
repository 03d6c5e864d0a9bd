"""The public names of the package."""

from profilekit import errors
from profilekit.client import ProfileClient
from profilekit.engine.breaker import Breaker
from profilekit.engine.cache import Cache
from profilekit.engine.retry import Retry
from profilekit.engine.stats import LaneState, LaneStats, Stats
from profilekit.observer import Observer
from profilekit.outcome import Failed, Ok, Outcome
from profilekit.rate import Rate
from profilekit.request import Account, Endpoint, Request, Vendor
from profilekit.vendors import amplitude, userflux

__all__ = [
    "Account",
    "Breaker",
    "Cache",
    "Endpoint",
    "Failed",
    "LaneState",
    "LaneStats",
    "Observer",
    "Ok",
    "Outcome",
    "ProfileClient",
    "Rate",
    "Request",
    "Retry",
    "Stats",
    "Vendor",
    "amplitude",
    "errors",
    "userflux",
]
