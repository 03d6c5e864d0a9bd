"""Jobs and outboxes while nobody knows what is left of the quota: they wait, and nothing is lost."""

import asyncio

import pytest
from outboxes import ACCOUNT, NO_CONTENT, write
from stub import Stub

from profilekit import ProfileClient, Rate, amplitude
from profilekit.bulk import Job, run
from profilekit.engine.local import LocalQuota
from profilekit.errors import QuotaUnavailableError
from profilekit.outbox import Outbox, letters
from profilekit.outbox.delivery import fate


class Losing(LocalQuota):
    """A quota that is not there for so many questions, after so many permits."""

    def __init__(self, account):
        super().__init__(account.rate)
        self.permits = self.refusals = 5

    def ready(self):
        return False

    def wait(self, now, wanted):
        if not self.permits and self.refusals:
            self.refusals -= 1
            raise QuotaUnavailableError("the quota is kept in Redis, and it cannot be reached")
        return super().wait(now, wanted)

    def take(self):
        self.permits = max(0, self.permits - 1)
        return super().take()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("profilekit.bulk.sending._AGAIN", 0.01)
    monkeypatch.setattr("profilekit.outbox.gate._UNTOLD", 0.01)


async def test_a_job_waits_for_the_quota_and_no_row_fails(tmp_path):
    job = Job(
        source=[f"u{n}" for n in range(40)], request=amplitude.GetProfile, output=tmp_path / "out.jsonl"
    )
    stub = Stub()
    account = amplitude.Account(secret_key="key", rate=Rate(1000, 1), max_in_flight=4)
    async with ProfileClient(account, quota=Losing, transport=stub) as client:
        report = await run(job, client)
        assert client.stats().failed["QuotaUnavailableError"] == 5
    assert (report.succeeded, report.failed) == (40, {})
    assert len(stub.requests) == 40


async def test_an_outbox_waits_for_the_quota_and_no_write_dies(tmp_path):
    stub, path = Stub(lambda request: NO_CONTENT), tmp_path / "writes.db"
    async with ProfileClient(ACCOUNT, quota=Losing, transport=stub) as client:
        async with Outbox(path, client, merge=False) as outbox:
            await asyncio.gather(*(outbox.put(write(f"u{n}", n=n)) for n in range(40)))
            await outbox.drained()
            stats = outbox.stats()
    assert (stats.delivered, stats.requests, stats.dead, stats.held) == (40, 40, 0, None)
    assert letters.status(path).dead == 0
    assert len(stub.requests) == 40


def test_a_write_that_found_no_quota_was_not_sent():
    assert fate(QuotaUnavailableError("x")) == "fenced"
