"""Answers such as the vendors document, of a wanted size, with a hole (%b) for the user's id."""

import orjson

COHORTS = ("c1", "c2", "c3")
SIZE = 2048


def amplitude(size: int = SIZE) -> bytes:
    """Return an answer of Amplitude's: models, cohorts, and properties for the rest."""
    models = 1 + size // 2048
    data = {
        "user_id": "%b",
        "cohort_ids": COHORTS,
        "recommendations": [
            {
                "rec_id": f"rec{model}",
                "child_rec_id": f"rec{model}",
                "is_control": False,
                "items": [f"item{model}-{place}" for place in range(4)],
                "last_updated": 1714521600,
            }
            for model in range(models)
        ],
        "propensities": [
            {"prop": 0.25, "pred_id": f"pred{model}", "prop_type": "score"} for model in range(models)
        ],
        "amp_props": {},
    }
    return _filled({"userData": data}, data["amp_props"], size)


def userflux(size: int = SIZE) -> bytes:
    """Return an answer of UserFlux's: segments, a place, a device, and properties for the rest."""
    data = {
        "id": "%b",
        "anonymousIds": ["anonymous-1"],
        "segments": COHORTS,
        "computedProperties": {"orders": 17, "spent": 209.5},
        "locationData": {"country": "NZ", "city": "Auckland"},
        "deviceData": {"os": "iOS", "version": "18.1"},
        "lastUpdatedAt": 1714521600123,
        "createdAt": 1714521600123,
        "properties": {},
    }
    return _filled(data, data["properties"], size)


def _filled(answer: dict, properties: dict, size: int) -> bytes:
    """Add properties of every kind, until the answer is large enough."""
    while len(body := orjson.dumps(answer)) < size:
        number = len(properties)
        kinds = (f"value {number}", number * 7919, number / 8, number % 16 == 3, ["a", f"b{number}"])
        properties[f"property_{number}"] = kinds[number % 5 if number % 2 else 0]
    return body
