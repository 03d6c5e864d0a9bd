"""What a job costs on top of fetching: a list read, answers kept, an output written; by format."""

import asyncio
import csv
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import bodies
from benchmarks.inside import repeated
from profilekit import ProfileClient, Rate, amplitude
from profilekit.bulk import Job, run
from profilekit.engine.transport import HttpResponse

# With the fetch alone and the job in turns, both meet the same machine.
ROUNDS = 5
FORMS = ("csv to jsonl", "csv to csv", "jsonl to jsonl", "txt to jsonl", "parquet to parquet")
ACCOUNT = amplitude.Account(secret_key="benchmark", rate=Rate(10_000_000, per=1))


class Canned:
    """Answers at once with 2 KB."""

    def __init__(self, account):
        self._before, _, self._after = bodies.amplitude(2048).partition(b"%b")

    async def exchange(self, request, deadline, sent):
        sent()
        user = request.target.partition("=")[2].encode()
        return HttpResponse(200, {}, self._before + user + self._after)

    async def close(self):
        pass


def users(path, count):
    rows = [{"user_id": f"user-{number:07}", "team": "red", "score": number} for number in range(count)]
    if path.suffix == ".parquet":
        import pyarrow as arrow  # noqa: ICN001
        import pyarrow.parquet as parquet  # noqa: PLR0402

        parquet.write_table(arrow.Table.from_pylist(rows), path)
        return
    with path.open("w", newline="") as file:
        if path.suffix == ".csv":
            table = csv.writer(file)
            table.writerow(rows[0])
            table.writerows(row.values() for row in rows)
        elif path.suffix == ".jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            file.writelines(row["user_id"] + "\n" for row in rows)


async def fetched(count):
    async with ProfileClient(ACCOUNT, transport=Canned) as client:
        async for _ in client.stream(amplitude.GetProfile(f"user-{number:07}") for number in range(count)):
            pass


async def enriched(source, output):
    async with ProfileClient(ACCOUNT, transport=Canned) as client:
        return await run(Job(source=source, request=amplitude.GetProfile, output=output), client)


def cpu_of(work):
    began = time.process_time()
    asyncio.run(work)
    return time.process_time() - began


def every_form(count, *, repetitions):
    """Return the figures of each form, one after the other."""
    found = {}
    for form in FORMS:
        figures = repeated(form, count, repetitions=repetitions, module="jobs")
        found |= {f"{form}: {name}": spread for name, spread in figures.items()}
    return found


def main(form, count):
    source, output = form.split(" to ")
    with tempfile.TemporaryDirectory() as folder:
        few, rows, out = (
            Path(folder) / name for name in (f"few.{source}", f"users.{source}", f"out.{output}")
        )
        users(few, count // 20)
        users(rows, count)
        # What is done once, such as imports, is no matter of rows.
        asyncio.run(enriched(few, out))
        rounds = [(cpu_of(enriched(rows, out)), cpu_of(fetched(count))) for _ in range(ROUNDS)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    own, whole = median(job - alone for job, alone in rounds), median(job for job, _ in rounds)
    return {"us_a_row_on_top": own / count * 1e6, "us_a_row": whole / count * 1e6, "peak_mib": peak}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1], int(sys.argv[2]))) + "\n")
