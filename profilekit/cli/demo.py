"""``profilekit demo``: the main job on a list of users, against the simulator."""

import asyncio
import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

import orjson

from profilekit._printable import printable
from profilekit.bulk import Job, Report, run
from profilekit.cli.show import Watched, stdout, summary, watched
from profilekit.client import ProfileClient
from profilekit.engine.retry import Retry
from profilekit.rate import Rate
from profilekit.simulator import Simulator
from profilekit.vendors import amplitude, userflux

__all__ = ["run_demo"]

# 20 times Amplitude's usual quota, so that nobody has to watch for minutes.
_QUOTA = Rate(200, per=1)
_READ_BACK = 20
_Done: TypeAlias = tuple[str, Report, float, Rate]
"""What a job is called, what came of it, in how many seconds, within which quota."""

_COUNTRIES = ("Australia", "Portugal", "Japan", "Kenya", "Canada")


async def run_demo(users: int, directory: Path) -> int:
    """Write a list, enrich it from both vendors, write back to UserFlux, and say what came of it.

    Args:
        users: How many users are in the list.
        directory: Where the files go.

    Returns:
        The exit status: 0, or 1 if what was written cannot be read back.
    """
    console = stdout()
    people = directory / "users.csv"
    _write_users(people, users)
    console.print(printable(f"{users} users in {people}"))
    simulator = Simulator(
        amplitude_rate=_QUOTA, userflux_rate=_QUOTA, latency=0.03, unknown=0.01, failing=0.005
    )
    async with simulator:
        console.print(
            f"Both vendors simulated at {simulator.amplitude_url}, {_QUOTA.requests} requests a second"
        )
        # Setting the same values twice is the same as once, so a write may be repeated after a 500.
        async with ProfileClient(*simulator.accounts(), retry=Retry(repeat_writes=True)) as client:
            done = await _run(client, _reads(people, directory))
            done += await _run(client, {"updates": _write_back(directory)})
            confirmed = await _read_back(client, directory)
        seen = simulator.stats()
    console.print(summary("What came of it", done))
    for vendor, stats in seen.items():
        console.print(
            f"{vendor} saw {stats.requests} requests, at most {stats.most_in_window} in any second,"
            f" and throttled {stats.throttled}"
        )
    console.print(
        f"The first {len(confirmed)} updated users were read back: {sum(confirmed)} show the update"
    )
    for name in ("users.csv", "amplitude.jsonl", "userflux.jsonl", "updates.jsonl"):
        console.print(printable(f"  {directory / name}"), soft_wrap=True)
    return 0 if all(confirmed) else 1


def _write_users(path: Path, users: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "country"])
        table.writerows(
            [f"user-{number:05d}", _COUNTRIES[number % len(_COUNTRIES)]] for number in range(users)
        )


def _reads(people: Path, directory: Path) -> dict[str, Job]:
    everything = ("get_amp_props", "get_cohort_ids", "get_computations", "get_recs", "get_propensity")
    return {
        "amplitude": Job(
            source=people,
            request=amplitude.GetProfile,
            parameters=dict.fromkeys(everything, True),
            output=directory / "amplitude.jsonl",
        ),
        "userflux": Job(source=people, request=userflux.GetProfile, output=directory / "userflux.jsonl"),
    }


async def _run(client: ProfileClient, jobs: dict[str, Job]) -> list[_Done]:
    """Run jobs at the same time."""
    watches = {
        name: Watched(name, job.request.endpoint.vendor.name, _QUOTA, client) for name, job in jobs.items()
    }

    async def one(name: str) -> _Done:
        report = await run(jobs[name], client, progress=watches[name].progress)
        return name, report, watches[name].seconds, _QUOTA

    async with watched(*watches.values()):
        return list(await asyncio.gather(*map(one, jobs)))


def _updates(directory: Path) -> Iterator[dict[str, Any]]:
    """Yield what Amplitude knows and UserFlux should: the cohorts, and the odds of leaving."""
    with (directory / "amplitude.jsonl").open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            if profile := row["profile"]:
                yield {
                    "user_id": row["user_id"],
                    "amplitude_cohorts": profile.get("cohort_ids", []),
                    "churn_propensity": profile.get("propensity"),
                }


def _write_back(directory: Path) -> Job:
    return Job(
        source=_updates(directory),
        request=userflux.UpdateProfile,
        rest="properties",
        output=directory / "updates.jsonl",
    )


async def _read_back(client: ProfileClient, directory: Path) -> list[bool]:
    """Say for the first updated users whether UserFlux now shows the update."""
    confirmed = []
    for update in islice(_updates(directory), _READ_BACK):
        profile = await client.send(userflux.GetProfile(update["user_id"]))
        shown = {"user_id": update["user_id"], **(profile.properties or {})}
        confirmed.append(all(value is None or value == shown.get(name) for name, value in update.items()))
    return confirmed
