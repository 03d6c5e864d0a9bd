"""UserFlux's Profiles API, as its OpenAPI document describes it and its own client uses it."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from profilekit.simulator.people import Person

__all__ = ["READ_KEY", "WRITE_KEY", "Profiles", "refuse", "throttle"]

READ_KEY = "simulated-userflux-read-write-key"
WRITE_KEY = "simulated-userflux-write-only-key"

_NOT_IDS = frozenset({"", "null", "undefined"})
_PATH = "/profile/"


def refuse(request: web.Request) -> web.Response | None:
    """Check the bearer key: either may write, the read + write key alone may read."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or key.strip() not in {READ_KEY, WRITE_KEY}:
        return _error(401, "Unauthorized")
    if request.method == "GET" and key.strip() == WRITE_KEY:
        return _error(403, "Forbidden: this key may only write")
    return None


def throttle() -> web.Response:
    """Return an answer to a request over the quota. UserFlux documents neither; this is the usual one."""
    return _error(429, "Too many requests")


class Profiles:
    """Everybody that UserFlux knows: those who were always there, and those who were written."""

    def __init__(self, find: Callable[[str], Person | None]) -> None:
        """Take who was always there."""
        self._find = find
        self._written: dict[str, dict[str, Any]] = {}
        self._anonymous: dict[str, dict[str, Any]] = {}

    def get(self, request: web.Request, _: bytes) -> web.Response:
        """Answer ``GET /profile/{userId}``."""
        # The path as it was sent: an encoded slash belongs to the id, a plain one does not.
        segment = request.raw_path.partition("?")[0].removeprefix(_PATH)
        profile = None if "/" in segment else self._profile(unquote(segment))
        if profile is None:
            return _error(404, "Profile not found")
        return web.Response(body=orjson.dumps(profile), content_type="application/json")

    def post(self, request: web.Request, body: bytes) -> web.Response:
        """Answer ``POST /profile``."""
        enrich = request.query.get("locationEnrichment", "false")
        if enrich not in {"true", "false"}:
            return _error(400, "locationEnrichment must be true or false")
        update = _update_of(body)
        if isinstance(update, str):
            return _error(400, update)
        self._apply(
            update, location={"ip": request.remote, "source": "request"} if enrich == "true" else None
        )
        return web.Response(status=204)

    def _profile(self, user_id: str) -> dict[str, Any] | None:
        someone, written = self._find(user_id), self._written.get(user_id)
        if someone is None and written is None:
            return None
        profile = _generated(someone) if someone else {"properties": {}, "anonymousIds": []}
        for name, value in (written or {}).items():
            if name == "properties":
                profile["properties"] = profile["properties"] | value
            elif name == "anonymousIds":
                profile["anonymousIds"] = list(dict.fromkeys([*profile["anonymousIds"], *value]))
            elif name != "createdAt" or someone is None:
                profile[name] = value
        return {
            "id": user_id,
            "computedProperties": {},
            "segments": [],
            "locationData": {},
            "deviceData": {},
        } | profile

    def _apply(self, update: dict[str, Any], location: dict[str, Any] | None) -> None:
        user_id, anonymous_id = update.get("userId"), update.get("anonymousId")
        now = int(time.time() * 1000)
        if user_id is None:
            record = self._anonymous.setdefault(anonymous_id or "", _new_record(now))
        else:
            record = self._written.setdefault(user_id, _new_record(now))
        if user_id is not None and anonymous_id is not None:
            # What was written before anybody knew who it was, under what is known of the user.
            before = self._anonymous.pop(anonymous_id, None)
            record["properties"] = (before or _new_record(now))["properties"] | record["properties"]
            record["anonymousIds"] = list(dict.fromkeys([*record["anonymousIds"], anonymous_id]))
        record["properties"] |= update.get("properties") or {}
        record["lastUpdatedAt"] = now
        if update.get("deviceData") is not None:
            record["deviceData"] = update["deviceData"]
        if location is not None:
            record["locationData"] = location


def _new_record(now: int) -> dict[str, Any]:
    return {"properties": {}, "anonymousIds": [], "createdAt": now}


def _generated(someone: Person) -> dict[str, Any]:
    city, region, country = someone.city
    platform, maker, model = someone.device
    return {
        "anonymousIds": [someone.device_id],
        "properties": someone.properties,
        "computedProperties": {"lifetime_orders": int(someone.computed("lifetime_orders"))},
        "segments": list(someone.cohorts),
        "locationData": {"city": city, "region": region, "country": country},
        "deviceData": {"platform": platform, "manufacturer": maker, "model": model},
        "lastUpdatedAt": someone.updated,
        "createdAt": someone.created,
    }


def _update_of(body: bytes) -> dict[str, Any] | str:
    """Return the update that a body holds, or what is wrong with it."""
    try:
        update = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "the body is not JSON"
    if not isinstance(update, dict):
        return "the body must be an object"
    ids = {name: update.get(name) for name in ("userId", "anonymousId")}
    if ids["userId"] is None and ids["anonymousId"] is None:
        return "userId or anonymousId is required"
    for name, value in ids.items():
        if value is not None and (not isinstance(value, str) or value in _NOT_IDS):
            return f"{name} is not an id"
    for name in ("properties", "deviceData"):
        if not isinstance(update.get(name), dict | None):
            return f"{name} must be an object"
    return update


def _error(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=orjson.dumps({"error": text}), content_type="application/json")
