"""The suite measures what it says: right answers, like work, and a report of what was measured."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

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
    return importlib.import_module("benchmarks.http"), importlib.import_module("benchmarks.report")


@pytest.fixture
def run():
    def call(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    return call


@pytest.mark.parametrize("task", ["fetch", "update"])
def test_contenders_are_right_before_they_are_timed(task, benchmarks, run):
    http, _ = benchmarks
    with http.server(2048) as url:
        for name in OURS:
            done = run("benchmarks.worker", name, url, "300", task)
            assert done.returncode == 0, done.stderr
            figures = json.loads(done.stdout)
            assert figures["cpu_us"] > 0
            assert figures["p50_ms"] <= figures["p99_ms"]


def test_one_that_is_not_there_is_said_to_be_and_not_left_out(benchmarks):
    http, report = benchmarks
    result = http.compare("fetch", ("floor", "nobody"), size=500, count=500, repetitions=1)
    assert set(result["rows"]) == {"floor"}
    assert "No module named" in result["missing"]["nobody"]
    result["missing"] = {"wreq_msgspec": result["missing"]["nobody"]}
    assert "wreq (Rust) + msgspec | not measured: ModuleNotFoundError" in report.markdown(result)


def test_every_contender_is_small_and_has_a_name_in_the_report(benchmarks):
    http, report = benchmarks
    assert {name.partition("+")[0] for name in (*http.FETCH, *http.UPDATE)} <= set(report.NAMES)
    for name in report.NAMES:
        text = (ROOT / "benchmarks" / "contenders" / f"{name}.py").read_text()
        # The floor is no adapter: it is what the others are measured against.
        assert len(text.splitlines()) <= (85 if name == "floor" else 50), name


def test_the_report_shows_what_was_measured(benchmarks):
    _, report = benchmarks
    figures = {
        "cpu_us": 20.0,
        "cpu_us_least": 19.0,
        "cpu_us_most": 22.0,
        "to_floor": 1.0,
        "per_second": 50_000.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "peak_mib": 40.0,
        "minor_faults": 0.01,
    }
    rows = {"floor": figures, "profilekit_send": {**figures, "cpu_us": 30.0, "to_floor": 1.5}}
    result = {"rows": rows, "missing": {}}
    assert "| profilekit, send | 30 us (19-22) | 1.50 |" in report.markdown(result)
    drawn = ET.fromstring(report.svg(result))
    bars = [bar.get("width") for bar in drawn.iter("{http://www.w3.org/2000/svg}rect") if bar.get("x")]
    assert [float(width) for width in bars] == [280.0, 420.0]


@pytest.mark.parametrize("part", ["decode", "limiter", "fanout", "memory"])
def test_parts_without_a_socket(part, run, tmp_path):
    kept = tmp_path / "figures.json"
    done = run("benchmarks", part, "--quick", "--json", str(kept))
    assert done.returncode == 0, done.stderr
    figures = json.loads(kept.read_text())
    assert figures["versions"]["profilekit"]
    if part == "limiter":
        assert figures["limiter"]["most_in_window_to_quota"] <= 1
    if part == "fanout":
        assert figures["fanout"]["peak_growth_mib"] < 10
