"""The suite measures what it says: right answers, like work, and a report of what was measured."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from profilekit import amplitude, userflux
from profilekit.engine import wire

ROOT = Path(__file__).parent.parent
# Those that need nothing but what profilekit needs.
OURS = [
    "floor",
    "profilekit_stream",
    "profilekit_send",
    "profilekit_session",
    "aiohttp_tuned",
    "aiohttp_usual",
]


@pytest.fixture(autouse=True)
def _no_coverage(monkeypatch):
    """Keep processes from measuring coverage: it would be all that is measured."""
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.compare"), importlib.import_module("benchmarks.report")


@pytest.fixture
def run():
    def call(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return call


@pytest.fixture
def measured(benchmarks):
    compare, _ = benchmarks

    def call(name, task, url, environment):
        figures = compare.once(name, task, url, 300, environment)
        assert isinstance(figures, dict), figures
        assert figures["cpu_us"] > 0
        assert figures["p50_ms"] <= figures["p99_ms"]

    return call


@pytest.mark.parametrize(
    ("task", "tls"),
    [
        ("fetch", False),
        pytest.param("fetch", True, marks=pytest.mark.slow),
        pytest.param("update", False, marks=pytest.mark.slow),
    ],
)
def test_contenders_are_right_before_they_are_timed(task, tls, benchmarks, measured):
    compare, _ = benchmarks
    with compare.server(2048, tls=tls) as (url, environment):
        for name in OURS:
            measured(name, task, url, environment)


@pytest.mark.parametrize("task", ["decode", "decode userflux", "memory"])
@pytest.mark.parametrize("name", ["decode_orjson", "decode_profilekit", "decode_json"])
def test_decoders_are_right_before_they_are_timed(name, task, measured):
    measured(name, task, "", {})


def test_one_that_is_wrong_is_not_timed(benchmarks):
    compare, _ = benchmarks
    assert "got (None, None) for check-0" in compare.once("decode_into", "decode userflux", "", 300, {})


@pytest.mark.parametrize("size", [550, 2048, 13_000])
def test_answers_are_as_large_as_they_say_and_typed_in_full(size, benchmarks):
    bodies = importlib.import_module("benchmarks.bodies")
    for body, vendor in ((bodies.amplitude(size), amplitude), (bodies.userflux(size), userflux)):
        assert size <= len(body) < size + 60
        profile = wire.decoder_for(vendor.GetProfile).decode(body.replace(b"%b", b"u"))
        assert profile.properties
    assert wire.decoder_for(amplitude.GetProfile).decode(bodies.amplitude(size)).recommendations[0].item_ids


def test_one_that_is_not_there_is_said_to_be_and_not_left_out(benchmarks):
    compare, report = benchmarks
    result = compare.compare("fetch", ("floor", "nobody"), size=500, count=500, repetitions=1)
    assert set(result["rows"]) == {"floor"}
    assert "No module named" in result["missing"]["nobody"]
    result["missing"] = {"wreq_msgspec": result["missing"]["nobody"]}
    assert "wreq (Rust) + msgspec | not measured: ModuleNotFoundError" in report.contenders(result)


def test_every_contender_is_small_and_has_a_name_in_the_report(benchmarks):
    compare, report = benchmarks
    parts = (compare.FETCH, compare.UPDATE, compare.TLS, compare.DECODE, compare.KEEP)
    named = [name for part in parts for name in part]
    assert {name.partition("+")[0] for name in named} == set(report.NAMES)
    for adapter in (ROOT / "benchmarks" / "contenders").glob("*.py"):
        assert len(adapter.read_text().splitlines()) <= 50, adapter


def test_the_report_shows_what_was_measured(benchmarks):
    _, report = benchmarks
    figures = {
        "cpu_us": 20.0,
        "cpu_us_least": 19.0,
        "cpu_us_most": 22.0,
        "ratio": 1.0,
        "per_second": 50_000.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "peak_mib": 40.0,
        "minor_faults": 0.01,
        "collection_ms": 5.0,
    }
    rows = {"floor": figures, "profilekit_send": {**figures, "cpu_us": 30.0, "ratio": 1.5}}
    result = {"rows": rows, "missing": {}}
    assert "| profilekit, send | 30.0 us (19.0-22.0) | 1.50 |" in report.contenders(result)
    drawn = ET.fromstring(report.svg(result))
    bars = [bar.get("width") for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.get("x")]
    assert [float(width) for width in bars] == [280.0, 420.0]


def test_goals_hold_or_do_not(benchmarks):
    goals = importlib.import_module("benchmarks.goals")
    costs = {"floor": 20.0, "profilekit_stream": 31.0, "profilekit_send": 36.0}
    rows = {name: {"cpu_us": cost, "minor_faults": 0.06} for name, cost in costs.items()}
    results = {"fetch": {"rows": rows}, "limiter": {"most_in_window_to_quota": {"most": 1.01}}}
    results["limiter"]["rate_reached"] = {"median": 0.98}
    watched = {"otel_of_1%_of_the_attempts_to_off": 1.07, "otel_with_a_sampler_of_1%_to_off": 1.7}
    results["observer"] = {name: {"median": ratio} for name, ratio in watched.items()}
    assert [(figure, holds) for _, figure, _, holds in goals.reached(results)] == [
        (1.55, False),
        (1.8, True),
        (0.06, False),
        (1.07, True),
        (1.7, False),
        (1.01, False),
        (0.98, True),
    ]
    assert "| stream, CPU a request / floor | 1.55 | at most 1.5 | **no** |" in goals.markdown(results)


@pytest.mark.parametrize(
    "part",
    [
        "limiter",
        pytest.param("quota", marks=pytest.mark.slow),
        pytest.param("observer", marks=pytest.mark.slow),
        "fanout",
        "outbox",
    ],
)
def test_parts_without_contenders(part, run, tmp_path):
    kept = tmp_path / "figures.json"
    done = run("benchmarks", part, "--quick", "--json", str(kept), "--report", str(tmp_path))
    assert done.returncode == 0, done.stderr
    figures = json.loads(kept.read_text())
    assert figures["versions"]["profilekit"]
    if part == "limiter":
        assert figures["limiter"]["most_in_window_to_quota"]["most"] <= 1
    if part == "quota":
        assert 0 < figures["quota"]["questions_a_second"]["most"] <= 50
    if part == "observer":
        assert figures["observer"]["us_a_request_off"]["least"] > 0
    if part == "fanout":
        assert figures["fanout"]["peak_growth_mib"]["most"] < 10
    if part == "outbox":
        assert figures["outbox"]["durable_puts_a_second"]["least"] > 0
    assert "| reached |" in (tmp_path / "report.md").read_text()
