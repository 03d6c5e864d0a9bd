"""A job from its list to its output, in steps that can be carried on with after any end."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from profilekit.bulk.job import Ask, Job, asker
from profilekit.bulk.journal import Journal
from profilekit.bulk.lines import is_at_end
from profilekit.bulk.output import check_of, layout_of, write_out
from profilekit.bulk.rows import Row
from profilekit.bulk.sending import Item, Progress, Sending
from profilekit.bulk.sink import Layout
from profilekit.bulk.source import Rows, opened
from profilekit.bulk.survey import Survey, look_over, numbered
from profilekit.client import ProfileClient
from profilekit.errors import ConfigError
from profilekit.observer import Closed, Opened
from profilekit.request import Request

__all__ = ["Outlook", "Report", "look_ahead", "run"]

T = TypeVar("T")


class Outlook(msgspec.Struct, frozen=True):
    """What running a job would do.

    Attributes:
        rows: Rows of the list.
        bad: Rows that are left of which no request can be made.
        requests: Requests that would be sent, retries aside.
        done: Requests that were answered in an earlier run.
        failed: How many of those came to an error.
    """

    rows: int
    bad: int
    requests: int
    done: int
    failed: int


class Report(msgspec.Struct, frozen=True):
    """What came of a job.

    Attributes:
        rows: Rows of the list.
        succeeded: Rows that came to a profile, or were written.
        failed: Rows that did not, by the class of the error; a bad row is a ``ConfigError``.
        sent: Requests sent in this run, retries included.
        is_complete: Whether all rows are through; else the same job carries on where this run ended.
        journal: What to carry on with, or with the failures to retry; None where nothing is left to do.
    """

    rows: int
    succeeded: int
    failed: dict[str, int]
    sent: int
    is_complete: bool
    journal: Path | None


async def look_ahead(job: Job, *, fresh: bool = False, retry_failed: bool = False) -> Outlook:
    """Read the list of a job, and its journal, and say what running it would do.

    Args:
        job: The job.
        fresh: As in ``run``.
        retry_failed: As in ``run``.

    Raises:
        ConfigError: When the job could not be run.
    """

    def look(rows: Rows) -> Outlook:
        survey = _survey(job, rows)
        journal = _journal(job, rows, survey, layout_of(job, survey))
        if _carries_on(job, fresh=fresh, retry_failed=retry_failed):
            journal.look(_identity(job, rows, survey))
            _check_retry(journal, survey, retry_failed=retry_failed)
        todo = _todo(job, rows, survey, journal, retry_failed=retry_failed)
        requests = [isinstance(request, Request) for _, _, request in todo]
        return Outlook(
            rows=survey.rows,
            bad=requests.count(False),
            requests=requests.count(True),
            done=journal.done,
            failed=journal.failures().total(),
        )

    async with opened(job.source, job.id_column) as rows:
        return await _in_thread(rows, lambda: look(rows))


async def run(
    job: Job,
    client: ProfileClient,
    *,
    fresh: bool = False,
    retry_failed: bool = False,
    progress: Progress | None = None,
    stop: asyncio.Event | None = None,
) -> Report:
    """Run a job to its end, from where an earlier run of it ended.

    Every answer is on disk as soon as it is there. However a run ends, the same job carries on: no row
    is lost or doubled, and nobody is asked for twice but who was under way. While the vendor is down,
    it waits. The output gets its name when it is complete; until then, what is done takes as much room
    beside it.

    Args:
        job: The job.
        client: What sends; it must have an account of the job's vendor.
        fresh: Begin anew, whatever an earlier run has left.
        retry_failed: Send again what failed in an earlier run; writes, too, where later rows of the same
            user have been sent since.
        progress: Is told how far it has come.
        stop: When set, nothing more is sent, what is with the vendor has a second to be answered, and the
            run ends incomplete. While the list is read or the output written, cancel the run instead.

    Raises:
        ConfigError: When the job cannot be run: nothing was sent then.
        AuthError: When the vendor refuses the key. What is done is kept.
        OSError: When the journal or the output cannot be written. What is done is kept.
        ClientClosedError: When the client closes meanwhile. What is done is kept.
    """
    client.check(job.sample)
    progress, stop = progress or Progress(), stop or asyncio.Event()
    before = _sent(job, client)
    async with opened(job.source, job.id_column) as rows:
        survey = await _in_thread(rows, lambda: _survey(job, rows))
        layout = layout_of(job, survey)
        with _journal(job, rows, survey, layout) as journal, _shown(job, client, progress):
            await _open(journal, job, rows, survey, fresh=fresh, retry_failed=retry_failed)
            again = journal.failures().total() if retry_failed else 0
            progress.begin(journal.done - again, survey.rows - survey.again)
            todo = _todo(job, rows, survey, journal, retry_failed=retry_failed)
            sending = Sending(job, client, journal, progress, stop)
            is_complete = await sending.run(todo)
            failed = journal.failures()
            is_complete = is_complete and not stop.is_set()
            if is_complete:
                progress.phase = "writing"
                failed = await _in_thread(rows, lambda: write_out(job, rows, survey, journal, layout))
                journal.end()
            left = journal.path if not is_complete or journal.failures().keys() - {"ConfigError"} else None
            through = survey.rows if is_complete else journal.done
    if left is None:
        journal.path.unlink(missing_ok=True)
    return Report(
        rows=survey.rows,
        succeeded=through - failed.total(),
        failed=dict(failed),
        sent=_sent(job, client) - before,
        is_complete=is_complete,
        journal=left,
    )


def _journal(job: Job, rows: Rows, survey: Survey, layout: Layout) -> Journal:
    return Journal(
        job.journal,
        survey.rows,
        in_order=not job.is_read,
        check=check_of(job, layout),
        check_wanted=rows.check_wanted,
    )


@contextmanager
def _shown(job: Job, client: ProfileClient, progress: Progress) -> Iterator[None]:
    """Let whoever watches the client look at how far a job has come, while it runs."""

    def look() -> Progress:
        return progress

    client.tell(Opened("job", job.title, look))
    try:
        yield
    finally:
        client.tell(Closed("job", job.title, look))


async def _open(
    journal: Journal, job: Job, rows: Rows, survey: Survey, *, fresh: bool, retry_failed: bool
) -> None:
    """Begin the journal of a job, or carry on with that of an earlier run."""
    identity = _identity(job, rows, survey)
    if not _carries_on(job, fresh=fresh, retry_failed=retry_failed):
        journal.begin(identity)
        return
    await _in_thread(rows, lambda: journal.resume(identity))
    _check_retry(journal, survey, retry_failed=retry_failed)
    journal.go_on()


def _sent(job: Job, client: ProfileClient) -> int:
    return client.stats().vendors[job.request.endpoint.vendor.name].sent


async def _in_thread(rows: Rows, work: Callable[[], T]) -> T:
    """Do what takes long without holding up the event loop; nothing of it is left when it is cancelled."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        rows.abandon()
        await asyncio.wait([working])
        # What became of it matters to nobody, but must be asked for.
        working.exception()
        raise


def _survey(job: Job, rows: Rows) -> Survey:
    # Of what kind a text's cells are matters where they are sent, and those of JSON as columns of Parquet.
    kinds = job.rest is not None if rows.is_text else rows.schema is None and job.is_to_parquet
    return look_over(rows, job.key if job.is_read else None, kinds=kinds)


def _identity(job: Job, rows: Rows, survey: Survey) -> dict[str, Any]:
    return {"input": survey.digest, "form": rows.form, **job.options}


def _check_retry(journal: Journal, survey: Survey, *, retry_failed: bool) -> None:
    if retry_failed and journal.done < survey.rows - survey.again:
        raise ConfigError("the earlier run is not through: run the job to its end before its failures")


def _carries_on(job: Job, *, fresh: bool, retry_failed: bool) -> bool:
    """Say whether there is an earlier run to carry on with."""
    if fresh and retry_failed:
        raise ConfigError("a job begins anew or retries what failed, not both")
    # A dangling link counts as a journal: opening it explains what is wrong.
    exists = os.path.lexists(job.journal)
    if retry_failed and not exists:
        raise ConfigError(f"there are no failures to retry: no earlier run has left {job.journal}")
    return exists and not fresh and (retry_failed or not is_at_end(job.journal))


def _todo(job: Job, rows: Rows, survey: Survey, journal: Journal, *, retry_failed: bool) -> Iterator[Item]:
    """Yield what has come to nothing yet, in the order of the rows."""
    ask = asker(job, survey.kinds, texts=rows.is_text)
    for place, (number, row) in enumerate(numbered(rows, survey, job.key if job.is_read else None)):
        if number == place and (not journal.has(number) or (retry_failed and journal.failed(number))):
            yield number, row.user_id or "", _request_of(row, ask)


def _request_of(row: Row, ask: Ask) -> Request[Any] | ConfigError:
    if row.user_id is None:
        return ConfigError(row.problem or f"line {row.line} names no user")
    try:
        return ask(row)
    except ConfigError as error:
        return ConfigError(f"line {row.line}: {error}")
