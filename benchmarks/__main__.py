"""``python -m benchmarks [PART] [--json FILE] [--quick] [--report DIRECTORY]``."""

import argparse
import json
import platform
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import compare, goals, inside, jobs, report

PACKAGES = (
    "profilekit",
    "aiohttp",
    "msgspec",
    "orjson",
    "httptools",
    "aiolimiter",
    "redis",
    "opentelemetry-sdk",
    "uvloop",
    "pydantic",
    "cattrs",
    "httpx",
    "httpx2",
    "niquests",
    "wreq",
    "pyreqwest",
)


def versions():
    found = {"python": sys.version.split()[0], "machine": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def parts(*, quick):
    """Return what each part runs."""
    repetitions, count = (1, 1000) if quick else (9, 10_000)
    over = partial(compare.compare, repetitions=repetitions, count=count)
    alone = partial(inside.repeated, repetitions=1 if quick else 5)
    return {
        "fetch": partial(over, "fetch", compare.FETCH),
        "fetch small": partial(over, "fetch", compare.OURS, size=550),
        "fetch large": partial(over, "fetch", compare.OURS, size=13_000),
        "fetch TLS": partial(over, "fetch", compare.TLS, tls=True),
        "update": partial(over, "update", compare.UPDATE),
        "observer": partial(alone, "in turns", 200 if quick else 2_000, module="observer"),
        "decode": partial(over, "decode", compare.DECODE),
        "decode userflux": partial(over, "decode userflux", compare.KEEP[:2]),
        "limiter": partial(alone, "limiter", 2 if quick else 10),
        "quota": partial(alone, "quota", 2 if quick else 10, module="quota"),
        "fanout": partial(alone, "fanout", 50_000 if quick else 1_000_000),
        "outbox": partial(alone, "outbox", 2_000 if quick else 20_000),
        "jobs": partial(jobs.every_form, 5_000 if quick else 20_000, repetitions=1 if quick else 3),
        "memory": partial(over, "memory", compare.KEEP, count=10_000 if quick else 100_000),
    }


def shown(results):
    """Return everything that was measured, as one document."""
    about = ", ".join(f"{name} {found}" for name, found in results["versions"].items())
    sections = [f"# What it costs\n\nMeasured with {about}."]
    for name, result in results.items():
        if name != "versions":
            text = report.contenders(result) if "rows" in result else report.figures(result)
            sections.append(f"## {name}\n\n{text}")
    sections.append(f"## Goals\n\n{goals.markdown(results)}")
    return "\n\n".join(sections) + "\n"


def main():
    reader = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    reader.add_argument(
        "part",
        nargs="?",
        choices=[
            "fetch",
            "update",
            "observer",
            "decode",
            "limiter",
            "quota",
            "fanout",
            "outbox",
            "jobs",
            "memory",
        ],
    )
    reader.add_argument("--json", type=Path, help="keep the figures in a file")
    reader.add_argument("--quick", action="store_true", help="under a minute; the figures are rough")
    reader.add_argument("--report", type=Path, help="write tables and a chart to a folder")
    wanted = reader.parse_args()
    results = {"versions": versions()}
    for name, run in parts(quick=wanted.quick).items():
        if wanted.part in (None, name.split()[0]):
            sys.stderr.write(f"{name} ...\n")
            results[name] = run()
    print(shown(results))
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2) + "\n")
    if wanted.report:
        (wanted.report / "report.md").write_text(shown(results))
        if "fetch" in results:
            (wanted.report / "report.svg").write_text(report.svg(results["fetch"]))


if __name__ == "__main__":
    main()
