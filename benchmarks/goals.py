"""The figures that profilekit is to reach, and what a run made of them."""

from benchmarks.report import table

STREAM, SEND, SESSION = "profilekit_stream", "profilekit_send", "profilekit_session"
AT_MOST = (
    ("stream, CPU a request / floor", "fetch", STREAM, "floor", 1.5),
    ("stream / wreq", "fetch", STREAM, "wreq_msgspec", 0.75),
    ("stream / aiohttp, tuned", "fetch", STREAM, "aiohttp_tuned", 0.30),
    ("stream / aiohttp as most people write it", "fetch", STREAM, "aiohttp_usual", 0.22),
    ("stream / httpx2 + pydantic", "fetch", STREAM, "httpx2_pydantic", 0.05),
    ("send / floor", "fetch", SEND, "floor", 1.8),
    ("over an aiohttp session / aiohttp as most people write it", "fetch", SESSION, "aiohttp_usual", 0.85),
    ("update / floor", "update", STREAM, "floor", 1.7),
    ("stream / floor, over TLS", "fetch TLS", STREAM, "floor", 1.5),
    ("stream / floor, 0.55 KB", "fetch small", STREAM, "floor", 1.8),
    ("stream / floor, 13 KB", "fetch large", STREAM, "floor", 1.2),
    ("typed decode / orjson.loads, Amplitude", "decode", "decode_profilekit", "decode_orjson", 1.1),
    ("typed decode / orjson.loads, UserFlux", "decode userflux", "decode_profilekit", "decode_orjson", 1.4),
    ("into ids and cohorts / orjson.loads", "decode", "decode_into", "decode_orjson", 0.4),
    ("100,000 profiles kept / orjson's dicts", "memory", "decode_profilekit", "decode_orjson", 0.5),
)


def _single(results):
    """Yield the goals that are no ratio of two contenders."""
    if "fetch" in results:
        faults = results["fetch"]["rows"][STREAM]["minor_faults"]
        yield "minor page faults a request", faults, "at most 0.05", faults <= 0.05
    if "fanout" in results:
        growth = results["fanout"]["peak_growth_mib"]["most"]
        yield "growth of peak memory over a long stream, MiB", growth, "at most 10", growth <= 10
    for name, spread in results.get("jobs", {}).items():
        if name.endswith("us_a_row_on_top"):
            own = spread["median"]
            yield f"a job's own CPU a row, {name.partition(':')[0]}, us", own, "at most 15", own <= 15
    if "observer" in results:
        for name in ("otel_of_1%_of_the_attempts_to_off", "otel_with_a_sampler_of_1%_to_off"):
            ratio = results["observer"][name]["median"]
            yield name.replace("_", " "), ratio, "at most 1.1", ratio <= 1.1
    if "limiter" in results:
        most = results["limiter"]["most_in_window_to_quota"]["most"]
        rate = results["limiter"]["rate_reached"]["median"]
        yield "most permits in any window / quota", most, "at most 1", most <= 1
        yield "rate reached / rate", rate, "at least 0.98", rate >= 0.98
    if "quota" in results:
        asked = results["quota"]["questions_a_second"]["most"]
        most = results["quota"]["shared_most_in_window_to_quota"]["most"]
        rate = results["quota"]["shared_rate_reached"]["median"]
        yield "questions to Redis a second, at 5,000 permits", asked, "at most 50", asked <= 50
        yield "most shared permits in any window / quota", most, "at most 1", most <= 1
        yield "rate reached of a shared quota / rate", rate, "at least 0.97", rate >= 0.97


def reached(results):
    """Return each goal that was measured: its name, the figure, the bound, and whether it holds."""
    rows = []
    for title, part, ours, theirs, bound in AT_MOST:
        costs = {name: row["cpu_us"] for name, row in results.get(part, {}).get("rows", {}).items()}
        if ours in costs and theirs in costs:
            ratio = costs[ours] / costs[theirs]
            rows.append((title, ratio, f"at most {bound}", ratio <= bound))
    return rows + list(_single(results))


def markdown(results):
    rows = [
        (title, f"{figure:.3g}", bound, "yes" if holds else "**no**")
        for title, figure, bound, holds in reached(results)
    ]
    return table(("figure", "measured", "goal", "reached"), "-:-:", rows)
