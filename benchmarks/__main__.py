"""``python -m benchmarks [PART] [--json FILE] [--quick] [--report DIRECTORY]``."""

import argparse
import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import http, inside, report

PACKAGES = (
    "profilekit",
    "aiohttp",
    "msgspec",
    "orjson",
    "httptools",
    "aiolimiter",
    "uvloop",
    "pydantic",
    "cattrs",
)
PEERS = ("httpx", "httpx2", "niquests", "wreq", "pyreqwest")


def versions():
    found = {}
    for package in (*PACKAGES, *PEERS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return {"python": sys.version.split()[0], "machine": platform.platform(), **found}


def parts(*, quick):
    """Return what each part runs."""
    repetitions, count = (1, 2000) if quick else (5, 20_000)
    over_http = {"repetitions": repetitions, "count": count}
    return {
        "fetch": lambda: http.compare("fetch", http.FETCH, size=2048, **over_http),
        "fetch small": lambda: http.compare("fetch", ("floor", "profilekit_stream"), size=550, **over_http),
        "fetch large": lambda: http.compare(
            "fetch", ("floor", "profilekit_stream"), size=13_000, **over_http
        ),
        "update": lambda: http.compare("update", http.UPDATE, size=2048, **over_http),
        "decode": lambda: inside.decode(repetitions=7, count=1000 if quick else 10_000),
        "limiter": lambda: inside.limiter(seconds=2 if quick else 10),
        "fanout": lambda: inside.fanout(count=50_000 if quick else 1_000_000),
        "memory": lambda: inside.memory(count=10_000 if quick else 100_000),
    }


def shown(result):
    return report.markdown(result) if "rows" in result else json.dumps(result, indent=2)


def main():
    reader = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    reader.add_argument(
        "part", nargs="?", choices=["fetch", "update", "decode", "limiter", "fanout", "memory"]
    )
    reader.add_argument("--json", type=Path, help="keep the figures in a file")
    reader.add_argument("--quick", action="store_true", help="under a minute; the figures are rough")
    reader.add_argument(
        "--report", type=Path, help="write the table and the chart of the fetches to a folder"
    )
    wanted = reader.parse_args()
    results = {"versions": versions()}
    print(json.dumps(results["versions"], indent=2))
    for name, run in parts(quick=wanted.quick).items():
        if wanted.part in (None, name.split()[0]):
            results[name] = run()
            print(f"\n## {name}\n\n{shown(results[name])}")
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2) + "\n")
    if wanted.report and "fetch" in results:
        (wanted.report / "report.md").write_text(report.markdown(results["fetch"]) + "\n")
        (wanted.report / "report.svg").write_text(report.svg(results["fetch"]))


if __name__ == "__main__":
    main()
