"""Amplitude's User Profile API, as its OpenAPI document and its pages describe it."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import orjson
from aiohttp import web

from profilekit.simulator.people import Person

__all__ = ["API_KEY", "SECRET_KEY", "Shape", "answer", "refuse", "throttle"]

SECRET_KEY = "simulated-amplitude-secret-key"  # noqa: S105 - it opens nothing
API_KEY = "simulated-amplitude-api-key"

Shape: TypeAlias = Literal["pages", "spec"]

_RECOMMENDATIONS = ("rec-next-best", "rec-similar")
_COMPUTATIONS = ("t14bqib", "u08kx2m", "lifetime_orders")
_PREDICTIONS = ("churn30d",)
_MOST_ITEMS = 100


def refuse(request: web.Request) -> web.Response | None:
    """Check the key in either of its forms; return the documented 401 where it is wrong."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        return None if _unpacked(credentials) == (API_KEY, SECRET_KEY) else _text(401, "Invalid Api-Key")
    if scheme != "Api-Key" or not credentials:
        return _text(401, "Missing Api-Key in Authorization header")
    return None if credentials.strip() == SECRET_KEY else _text(401, "Invalid Api-Key")


def _unpacked(credentials: str) -> tuple[str, str]:
    try:
        name, _, secret = b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def throttle() -> web.Response:
    """Return the documented answer to a request over the quota; its status is not documented."""
    text = "Number of requests per minute exceeds system limit. Contact Support if you need this limit raised"
    return _json(429, {"error": text})


def answer(
    find: Callable[[str], Person | None], shape: Shape
) -> Callable[[web.Request, bytes], web.Response]:
    """Return what answers ``GET /v1/userprofile``.

    Args:
        find: Returns who an id belongs to, if anybody.
        shape: ``spec`` for the OpenAPI document's fields, ``pages`` for those of the pages.
    """
    show = _as_spec if shape == "spec" else _as_pages

    def get_profile(request: web.Request, _: bytes) -> web.Response:
        asked = request.query
        user_id, device_id = asked.get("user_id"), asked.get("device_id")
        if not user_id and not device_id:
            return _text(400, "Bad request - missing user_id")
        wrong = _wrong_parameter(asked)
        if wrong:
            return _text(400, f"Bad request - invalid {wrong}")
        someone = find(user_id or device_id or "")
        if someone is None:
            return _json(404, {"error": "User id and device id not seen before"})
        return _json(200, {"userData": show(someone, user_id, device_id, asked)})

    return get_profile


def _wrong_parameter(asked: Mapping[str, str]) -> str | None:
    for flag in ("get_recs", "get_amp_props", "get_cohort_ids", "get_computations", "get_propensity"):
        if asked.get(flag, "true") not in {"true", "false"}:
            return flag
    limit = asked.get("limit", "1")
    if not re.fullmatch(r"0*[1-9][0-9]{0,8}", limit, re.ASCII):
        return "limit"
    if asked.get("propensity_type", "score") not in {"score", "pct"}:
        return "propensity_type"
    return None


def _as_spec(someone: Person, user_id: str | None, _: str | None, asked: Mapping[str, str]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "user_properties": someone.properties,
        "computed_properties": {comp_id: someone.computed(comp_id) for comp_id in _computations(asked)},
        "cohort_ids": someone.cohorts,
        "amplitude_id": someone.amplitude_id,
    }
    if user_id:
        data["user_id"] = user_id
    if _wants_recommendations(asked):
        data["recommendations"] = [
            {
                "rec_id": rec_id,
                "child_ids": someone.items(rec_id, int(asked.get("limit", _MOST_ITEMS))),
                "is_control": someone.is_control(rec_id),
                "recommendation_type": asked.get("rec_type", "model"),
                "title": f"Recommended: {rec_id}",
            }
            for rec_id in _several(asked, "rec_id", _RECOMMENDATIONS)
        ]
    return data


def _as_pages(
    someone: Person, user_id: str | None, device_id: str | None, asked: Mapping[str, str]
) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    if _flag(asked, "get_amp_props"):
        properties |= someone.properties
    if _flag(asked, "get_computations") or "comp_id" in asked:
        properties |= {comp_id: someone.computed(comp_id) for comp_id in _computations(asked)}
    data: dict[str, Any] = {
        "user_id": user_id,
        "device_id": device_id or someone.device_id,
        "amp_props": properties or None,
        "cohort_ids": someone.cohorts if _flag(asked, "get_cohort_ids") else None,
        "recommendations": _page_recommendations(someone, asked) if _wants_recommendations(asked) else None,
    }
    if _flag(asked, "get_propensity"):
        kind = asked.get("propensity_type", "score")
        scores = [
            {"prop": someone.propensity(name, kind), "pred_id": name, "prop_type": kind}
            for name in _several(asked, "prediction_id", _PREDICTIONS)
        ]
        data |= {"propensity": scores[0]["prop"], "propensities": scores}
    return data


def _page_recommendations(someone: Person, asked: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "rec_id": rec_id,
            "child_rec_id": rec_id,
            "items": someone.items(rec_id, int(asked.get("limit", _MOST_ITEMS))),
            "is_control": someone.is_control(rec_id),
            "recommendation_source": asked.get("rec_type", "model"),
            # The pages show this number as a float in scientific notation.
            "last_updated": float(someone.synced(rec_id)),
        }
        for rec_id in _several(asked, "rec_id", _RECOMMENDATIONS)
    ]


def _flag(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name) == "true"


def _wants_recommendations(asked: Mapping[str, str]) -> bool:
    return _flag(asked, "get_recs") or "rec_id" in asked


def _several(asked: Mapping[str, str], name: str, default: tuple[str, ...]) -> list[str]:
    return [part for part in asked.get(name, "").split(",") if part] or list(default)


def _computations(asked: Mapping[str, str]) -> list[str]:
    return _several(asked, "comp_id", _COMPUTATIONS)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def _json(status: int, value: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
