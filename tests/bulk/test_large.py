"""Lists of real sizes: the memory that a job takes does not depend on how long its list is."""

import os
import subprocess
import sys

import pytest

PROGRAM = '''
import asyncio, sys
from pathlib import Path
from profilekit import ProfileClient, Rate, amplitude
from profilekit.bulk import Job, run
from profilekit.engine.transport import HttpResponse



class NoPandas:
    """Where it is installed, pyarrow imports it, which takes some 40 MB that are not ours."""

    def find_spec(self, name, path, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, NoPandas())
REST = b'", "amp_props": {%s}}}' % b",".join(
    b'"property %d": "value of property %d"' % (number, number) for number in range(40)
)


class Canned:
    def __init__(self, account):
        pass

    async def exchange(self, request, deadline, sent):
        sent()
        user = request.target.partition("user_id=")[2].encode()
        return HttpResponse(200, {}, b'{"userData": {"user_id": "%b%b' % (user, REST))

    async def close(self):
        pass


async def main(source, output):
    account = amplitude.Account(secret_key="k", rate=Rate(10_000_000, per=1))
    async with ProfileClient(account, transport=Canned) as client:
        report = await run(Job(source=source, request=amplitude.GetProfile, output=Path(output)), client)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(report.succeeded, int(peak.split()[1]) // 1024)


asyncio.run(main(*sys.argv[1:]))
'''


def enriched(source, output):
    """Return how many rows came to a profile, and the peak of memory in MiB."""
    # Coverage would take most of the time.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-P", "-c", PROGRAM, source, output]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return map(int, done.stdout.split())


def users(tmp_path, count, form):
    path = tmp_path / f"users.{form}"
    if form == "csv":
        with path.open("w") as file:
            file.write("user_id,team\n")
            file.writelines(f"user-{number},red\n" for number in range(count))
        return path
    import pyarrow as pa
    import pyarrow.parquet

    ids = [f"user-{number}" for number in range(count)]
    pyarrow.parquet.write_table(pa.table({"user_id": ids, "team": ["red"] * count}), path)
    return path


def is_flat(tmp_path, count, form):
    # What the interpreter and the libraries take differs from one Python to the next.
    _, few = enriched(users(tmp_path, 1000, form), tmp_path / f"few.{form}")
    source, peak = users(tmp_path, count, form), few + 40
    # On a busy machine Arrow's threads may hold more at once: then a second run counts.
    for attempt in range(2):
        if peak - few >= 40:
            rows, peak = enriched(source, tmp_path / f"out{attempt}.{form}")
            assert rows == count
    assert peak - few < 40
    return peak


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_list_is_not_held_in_memory(tmp_path, form):
    # As text, the profiles of these are 100 MB.
    is_flat(tmp_path, 50_000, form)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_million_rows_take_no_more_memory_than_a_few(tmp_path, form, record_property):
    record_property("peak_mib", is_flat(tmp_path, 1_000_000, form))


def test_many_users_who_come_again_are_no_burden(tmp_path):
    source = tmp_path / "users.txt"
    source.write_text("".join(f"user-{number % 30_000}\n" for number in range(60_000)))
    rows, peak = enriched(source, tmp_path / "out.jsonl")
    assert rows == 60_000
    assert peak < 150
