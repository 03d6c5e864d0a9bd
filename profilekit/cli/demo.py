"""``profilekit demo``: the main job on a list of users, against the simulator."""

import asyncio
import csv
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from profilekit.bulk import Table, open_table
from profilekit.cli.lists import enrich_into
from profilekit.cli.show import Tally, summary, tracked
from profilekit.client import ProfileClient
from profilekit.engine.retry import Retry
from profilekit.outcome import Failed
from profilekit.rate import Rate
from profilekit.request import Request
from profilekit.simulator import Simulator
from profilekit.vendors import amplitude, userflux

__all__ = ["run_demo"]

# 20 times Amplitude's usual quota, so that nobody has to watch for minutes.
_QUOTA = Rate(200, per=1)
_READ_BACK = 20
_COUNTRIES = ("Australia", "Portugal", "Japan", "Kenya", "Canada")


async def run_demo(users: int, directory: Path) -> int:
    """Write a list, enrich it from both vendors, write back to UserFlux, and say what came of it.

    Args:
        users: How many users are in the list.
        directory: Where the files go.

    Returns:
        The exit status: 0, or 1 if what was written cannot be read back.
    """
    console = Console(highlight=False)
    people = directory / "users.csv"
    _write_users(people, users)
    console.print(f"{users} users in {people}")
    simulator = Simulator(
        amplitude_rate=_QUOTA, userflux_rate=_QUOTA, latency=0.03, unknown=0.01, failing=0.005
    )
    async with simulator:
        console.print(
            f"Both vendors simulated at {simulator.amplitude_url}, {_QUOTA.requests} requests a second"
        )
        # Setting the same values twice is the same as once, so a write may be repeated after a 500.
        async with ProfileClient(*simulator.accounts(), retry=Retry(repeat_writes=True)) as client:
            tallies = await _enrich_from_both(client, open_table(people), directory)
            tallies.append(await _write_back(client, directory))
            confirmed = await _read_back(client, directory)
        seen = simulator.stats()
    console.print(summary("What came of it", tallies))
    for vendor, stats in seen.items():
        console.print(
            f"{vendor} saw {stats.requests} requests, at most {stats.most_in_window} in any second,"
            f" and throttled {stats.throttled}"
        )
    console.print(
        f"The first {len(confirmed)} updated users were read back: {sum(confirmed)} show the update"
    )
    for name in ("users.csv", "amplitude.jsonl", "userflux.jsonl"):
        console.print(f"  {directory / name}", soft_wrap=True)
    return 0 if all(confirmed) else 1


def _write_users(path: Path, users: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["user_id", "country"])
        table.writerows(
            [f"user-{number:05d}", _COUNTRIES[number % len(_COUNTRIES)]] for number in range(users)
        )


def _ask_amplitude(user_id: str) -> Request[Any]:
    return amplitude.GetProfile(
        user_id,
        get_amp_props=True,
        get_cohort_ids=True,
        get_computations=True,
        get_recs=True,
        get_propensity=True,
    )


async def _enrich_from_both(client: ProfileClient, table: Table, directory: Path) -> list[Tally]:
    asks: dict[str, Callable[[str], Request[Any]]] = {
        "amplitude": _ask_amplitude,
        "userflux": userflux.GetProfile,
    }
    tallies = [Tally(name, table.rows, _QUOTA) for name in asks]
    with tracked(*tallies) as show:
        async with asyncio.TaskGroup() as group:
            for tally in tallies:
                path = directory / f"{tally.name}.jsonl"
                job = enrich_into(path, client, table, asks[tally.name], tally=tally, show=show)
                group.create_task(job)
    return tallies


def _updates(directory: Path) -> Iterator[userflux.UpdateProfile]:
    """Yield what Amplitude knows and UserFlux should: the cohorts, and the odds of leaving."""
    with (directory / "amplitude.jsonl").open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            if profile := row["profile"]:
                properties = {
                    "amplitude_cohorts": profile.get("cohort_ids", []),
                    "churn_propensity": profile.get("propensity"),
                }
                yield userflux.UpdateProfile(row["user_id"], properties=properties)


async def _write_back(client: ProfileClient, directory: Path) -> Tally:
    tally = Tally("updates", sum(1 for _ in _updates(directory)), _QUOTA)
    before = client.stats().vendors["userflux"].sent
    with tracked(tally) as show:
        async for outcome in client.stream(_updates(directory)):
            tally.count(outcome.error if isinstance(outcome, Failed) else None)
            show(tally)
    tally.finish(client.stats().vendors["userflux"].sent - before)
    return tally


async def _read_back(client: ProfileClient, directory: Path) -> list[bool]:
    """Say for the first updated users whether UserFlux now shows the update."""
    confirmed = []
    for update in islice(_updates(directory), _READ_BACK):
        profile = await client.send(userflux.GetProfile(update.user_id or ""))
        shown = profile.properties or {}
        confirmed.append(all(shown.get(name) == value for name, value in (update.properties or {}).items()))
    return confirmed
