"""What OpenTelemetry's exporters are given: the conventions' names, the right figures, and no secret."""

import asyncio
import logging
import re
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from clock import virtual
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY, start_http_server
from rawserver import ok, raw_server, saying
from stub import AMPLITUDE, Stub, answering, response
from telemetry import Telemetry

from profilekit import Breaker, Cache, ProfileClient, Rate, Retry, amplitude, bulk, errors, otel, userflux
from profilekit.observer import Closed, Opened
from profilekit.otel import OpenTelemetry
from profilekit.outbox import Outbox
from profilekit.simulator import Simulator

ID, KEY, BODY = "canary-user", "canary-key", "canary-body"
GET = amplitude.GetProfile(ID)
GOOD = response(200, AMPLITUDE)
FIXED = {
    "http.request.method": "GET",
    "server.address": "profile-api.amplitude.com",
    "server.port": 443,
    "url.template": "/v1/userprofile",
}


def client(telemetry, stub, *, rate=None, **settings):
    account = amplitude.Account(secret_key=KEY, rate=rate or Rate(10_000, per=1))
    return ProfileClient(account, transport=stub, observer=telemetry.observer, **settings)


def run(telemetry, stub, work, **settings):
    """Run work with a client on a virtual clock."""

    async def main():
        async with client(telemetry, stub, **settings) as one:
            return await work(one)

    return virtual(main())


async def settled(one, request=GET, **settings):
    with suppress(errors.RequestError):
        await one.send(request, **settings)


def looked(telemetry, kind, *names):
    return {name: telemetry.values(f"profilekit.{kind}.{name}") for name in names}


# ---- spans ---------------------------------------------------------------------------------------


def test_a_span_says_what_the_conventions_ask_for_and_no_url():
    telemetry = Telemetry()
    run(telemetry, Stub(latency=0.25), settled)
    (span,) = telemetry.spans
    assert (span.name, span.kind) == ("GET /v1/userprofile", SpanKind.CLIENT)
    assert dict(span.attributes) == {
        **FIXED,
        "http.response.status_code": 200,
        "url.scheme": "https",
        "profilekit.vendor": "amplitude",
    }
    assert span.status.status_code is StatusCode.UNSET
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(0.25, abs=0.2)
    assert span.instrumentation_scope.name == "profilekit"


def test_each_attempt_is_a_span_that_says_what_it_came_to():
    telemetry = Telemetry()
    lost = errors.ConnectionFailedError("broken")
    run(telemetry, Stub(answering(response(503), lost, response(404))), settled)
    told = [
        [span.attributes.get(name) for name in ("http.response.status_code", "error.type")]
        for span in telemetry.spans
    ]
    assert told == [[503, "503"], [None, "ConnectionFailedError"], [404, "404"]]
    resent = [span.attributes.get("http.request.resend_count") for span in telemetry.spans]
    assert resent == [None, 1, 2]
    assert {span.status.status_code for span in telemetry.spans} == {StatusCode.ERROR}
    assert {span.status.description for span in telemetry.spans} == {None}


def test_an_error_in_a_success_is_told_by_its_class():
    telemetry = Telemetry()
    stub = Stub(answering(response(200, b'{"error": "User id and device id not seen before"}')))
    run(telemetry, stub, settled)
    (span,) = telemetry.spans
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["error.type"].endswith("Error")


def test_an_attempt_that_is_too_late_and_one_that_is_cancelled_are_spans_too():
    telemetry = Telemetry()

    async def cancelled(one):
        task = asyncio.create_task(one.send(GET))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])

    late = errors.RequestTimeoutError("too late")
    run(telemetry, Stub(lambda _: late, latency=0.6), settled)
    run(telemetry, Stub(latency=60), cancelled)
    kinds = [span.attributes["error.type"] for span in telemetry.spans]
    assert kinds == ["RequestTimeoutError", "CancelledError"]


def test_a_span_belongs_to_the_callers_span_in_send_and_in_stream():
    telemetry = Telemetry()

    async def work(one):
        with telemetry.span("sending"):
            await one.send(GET)
        with telemetry.span("streaming"):
            async for _ in one.stream([GET] * 5, window=3):
                pass

    run(telemetry, Stub(latency=0.1), work)
    mine = {span.name: span.context for span in telemetry.spans if span.kind is SpanKind.INTERNAL}
    parents = [span.parent for span in telemetry.spans if span.kind is SpanKind.CLIENT]
    assert [parent.span_id for parent in parents] == [mine["sending"].span_id] + [
        mine["streaming"].span_id
    ] * 5
    assert {parent.trace_id for parent in parents[1:]} == {mine["streaming"].trace_id}


def test_the_sampler_decides_which_spans_are_recorded_and_metrics_count_all():
    telemetry = Telemetry(sampler=ParentBased(TraceIdRatioBased(0.2)))
    run(telemetry, Stub(), lambda one: one.send_all([GET] * 500))
    assert 40 < len(telemetry.spans) < 180
    assert telemetry.points("http.client.request.duration")[0].count == 500


def test_an_attempt_is_recorded_though_the_event_loop_of_another_came_to_its_end():
    telemetry = Telemetry()

    def client():
        return ProfileClient(amplitude.Account(secret_key=KEY), transport=Stub(), observer=telemetry.observer)

    async def ended():
        await (await client().__aenter__()).send(GET)

    async def goes_on():
        async with client() as one:
            await one.send(GET)
            await asyncio.sleep(0.5)
            return len(telemetry.spans)

    virtual(ended())
    assert virtual(goes_on()) == 2


def test_attempts_are_recorded_together_within_half_a_second():
    telemetry = Telemetry()
    recorded = []

    async def work(one):
        await one.send(GET)
        recorded.append(len(telemetry.spans))
        await asyncio.sleep(0.5)
        recorded.append(len(telemetry.spans))
        await one.send_all([GET] * 40)
        recorded.append(len(telemetry.spans))
        await asyncio.sleep(0.5)
        recorded.append(len(telemetry.spans))
        await one.send(GET)

    run(telemetry, Stub(), work)
    assert recorded == [0, 1, 33, 41]
    assert len(telemetry.spans) == 42


def test_what_has_ended_is_in_what_is_collected_next():
    telemetry = Telemetry()

    async def work(one):
        await one.send(GET)
        await asyncio.to_thread(telemetry.metrics)
        return telemetry.points("http.client.request.duration")[0].count, len(telemetry.spans)

    async def main():
        async with client(telemetry, Stub()) as one:
            return await work(one)

    assert asyncio.run(main()) == (1, 1)


def test_a_span_that_is_recorded_late_has_the_times_of_its_attempt_and_its_caller():
    telemetry = Telemetry()

    async def main():
        async with client(telemetry, Stub()) as one:
            with telemetry.span("calling"):
                await one.send(GET)
            ended = time.time_ns()
            while time.time_ns() < ended + 5_000_000:
                await asyncio.sleep(0)
        return ended

    ended = asyncio.run(main())
    caller, span = telemetry.spans
    assert span.parent.span_id == caller.context.span_id
    assert caller.start_time <= span.start_time <= span.end_time <= ended


def test_observers_beside_it_do_not_mix_up_spans():
    telemetry, other = Telemetry(propagate=True), Telemetry(propagate=True)

    async def main():
        account = amplitude.Account(secret_key=KEY, rate=Rate(10_000, per=1))
        observers = [telemetry.observer, other.observer]
        async with ProfileClient(account, transport=Stub(), observer=observers) as one:
            await one.send_all([GET] * 3)

    virtual(main())
    ids = [{span.context.span_id for span in each.spans} for each in (telemetry, other)]
    assert [len(each) for each in ids] == [3, 3]
    assert not ids[0] & ids[1]


# ---- propagation ---------------------------------------------------------------------------------


async def sent_with(**settings):
    telemetry = Telemetry(**settings)
    async with raw_server(saying(ok(AMPLITUDE.replace(b'"u"', b'"canary-user"')))) as server:
        account = amplitude.Account(secret_key=KEY, base_url=server.url)
        async with ProfileClient(account, observer=telemetry.observer) as one:
            await one.send(GET)
            await one.send(GET)
        heads = [raw.decode().lower() for raw in server.received]
    found = [[line for line in head.split("\r\n") if line.startswith("trace")] for head in heads]
    assert all("authorization: api-key canary-key" in head for head in heads)
    return telemetry, found


async def test_the_vendor_is_told_of_no_trace_unless_asked():
    telemetry, found = await sent_with()
    assert found == [[], []]
    assert len(telemetry.spans) == 2


async def test_the_vendor_is_told_of_the_span_of_the_attempt_when_asked():
    telemetry, found = await sent_with(propagate=True)
    assert [line.split("-")[1:3] for (line,) in found] == [
        [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"] for span in telemetry.spans
    ]
    assert [span.attributes["http.response.status_code"] for span in telemetry.spans] == [200, 200]
    assert telemetry.points("http.client.request.duration")[0].count == 2


async def test_the_vendor_is_told_of_traces_that_are_not_recorded_as_such():
    telemetry, found = await sent_with(propagate=True, sampler=ALWAYS_OFF)
    assert telemetry.spans == []
    assert all(line.startswith("traceparent: 00-") and line[-2] == "0" for (line,) in found)


async def test_what_is_not_chosen_is_counted_and_not_told_of():
    telemetry, found = await sent_with(propagate=True, sample=1e-12)
    assert (telemetry.spans, found) == ([], [[], []])
    assert [point.value for point in telemetry.points("profilekit.attempts")] == [2]


# ---- metrics of attempts -------------------------------------------------------------------------


def test_durations_are_a_histogram_of_seconds_for_each_outcome():
    telemetry = Telemetry()
    stub = Stub(answering(response(503), GOOD), latency=0.3)
    run(telemetry, stub, lambda one: one.send_all([GET] * 3, window=1))
    metric = telemetry.metrics()["http.client.request.duration"]
    assert metric.unit == "s"
    failed, good = sorted(metric.data.data_points, key=lambda point: point.count)
    assert (failed.count, good.count) == (1, 3)
    assert dict(failed.attributes) == {**FIXED, "http.response.status_code": 503, "error.type": "503"}
    assert dict(good.attributes) == {**FIXED, "http.response.status_code": 200}
    assert good.sum == pytest.approx(0.9)
    assert good.explicit_bounds == (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
    assert good.bucket_counts[7] == 3


def test_attempts_are_counted_and_timed_for_each_outcome_whatever_is_sampled():
    telemetry = Telemetry(sample=1e-12)
    run(telemetry, Stub(latency=0.1), lambda one: one.send_all([GET] * 50))
    (attempts,), (seconds,) = (
        telemetry.points("profilekit.attempts"),
        telemetry.points("profilekit.attempt.time"),
    )
    assert (attempts.value, seconds.value) == (50, pytest.approx(5.0))
    assert dict(attempts.attributes) == {**FIXED, "http.response.status_code": 200}
    assert telemetry.spans == telemetry.points("http.client.request.duration") == []


def test_what_is_part_of_a_recorded_trace_is_always_recorded():
    telemetry = Telemetry(sample=1e-12)

    async def work(one):
        with telemetry.span("mine"):
            await one.send(GET)

    run(telemetry, Stub(), work)
    assert {span.name for span in telemetry.spans} == {"mine", "GET /v1/userprofile"}


def test_a_sample_is_about_as_large_as_it_is_to_be():
    telemetry = Telemetry(sample=0.2)
    run(telemetry, Stub(), lambda one: one.send_all([GET] * 1000))
    (durations,) = telemetry.points("http.client.request.duration")
    assert durations.count == len(telemetry.spans)
    assert 100 < durations.count < 320


@pytest.mark.parametrize("sample", [0, -1, 1.1, "all", None])
def test_a_sample_that_is_no_share_is_refused(sample):
    with pytest.raises(errors.ConfigError, match="OpenTelemetry: sample"):
        OpenTelemetry(sample=sample)


def test_active_requests_are_those_under_way():
    telemetry = Telemetry()

    async def work(one):
        tasks = [asyncio.create_task(one.send(GET)) for _ in range(3)]
        await asyncio.sleep(1)
        during = telemetry.points("http.client.active_requests")
        await asyncio.wait(tasks)
        return during

    (during,) = run(telemetry, Stub(latency=5), work)
    assert (during.value, dict(during.attributes)) == (3, FIXED)
    assert [point.value for point in telemetry.points("http.client.active_requests")] == [0]


def test_waits_for_permits_are_recorded_where_there_was_one():
    telemetry = Telemetry()
    run(telemetry, Stub(), lambda one: one.send_all([GET] * 3, window=3), rate=Rate(1, per=10))
    (waits,) = telemetry.points("profilekit.permit.wait")
    assert dict(waits.attributes) == {"profilekit.vendor": "amplitude", "profilekit.bulk": True}
    assert (waits.count, waits.sum) == (2, pytest.approx(10.19 * 3, rel=0.05))
    assert max(span.attributes.get("profilekit.permit.wait", 0) for span in telemetry.spans) > 15


# ---- metrics of the client -----------------------------------------------------------------------


def test_requests_are_counted_by_what_they_came_to_and_stay_counted_when_the_client_is_closed():
    telemetry = Telemetry()
    stub = Stub(answering(response(404), response(503), GOOD))

    async def work(one):
        await settled(one)
        await settled(one)
        return telemetry.values("profilekit.requests"), telemetry.values("profilekit.retries")

    expected = {("amplitude",): 1, ("amplitude", "ProfileNotFoundError"): 1}
    assert run(telemetry, stub, work) == (expected, {("amplitude",): 1})
    assert telemetry.values("profilekit.requests") == expected
    run(telemetry, Stub(), settled)
    assert telemetry.values("profilekit.requests")["amplitude",] == 2


def test_two_clients_at_once_are_added_up():
    telemetry = Telemetry()

    async def main():
        async with client(telemetry, Stub()) as one, client(telemetry, Stub()) as two:
            await one.send_all([GET] * 2)
            await two.send_all([GET] * 3)
            return telemetry.values("profilekit.requests"), telemetry.values("profilekit.retry.budget")

    assert virtual(main()) == ({("amplitude",): 5}, {("amplitude",): 200})


def test_reads_that_were_not_sent_are_counted():
    telemetry = Telemetry()

    async def work(one):
        await asyncio.gather(one.send(GET), one.send(GET), one.send(GET))
        await one.send(GET)

    run(telemetry, Stub(latency=1), work, cache=Cache(ttl=60))
    assert telemetry.values("profilekit.single_flight.hits") == {("amplitude",): 2}
    assert telemetry.values("profilekit.cache.hits") == {("amplitude",): 1}
    assert [point.value for point in telemetry.points("profilekit.attempts")] == [1]


def test_an_outage_shows_in_the_breaker_the_budget_and_the_events():
    telemetry = Telemetry()

    async def work(one):
        await one.send_all([GET] * 10, window=1)
        during = {
            name: telemetry.values(f"profilekit.{name}")
            for name in ("breaker.open", "breaker.fenced", "retry.budget", "quota.share")
        }
        await asyncio.sleep(5)
        await one.send(GET)
        return during, telemetry.values("profilekit.breaker.open")

    policy = {"retry": Retry(attempts=2, budget=10), "breaker": Breaker(failures=4, probe_every=5)}
    during, after = run(telemetry, Stub(answering(*[response(500)] * 4, GOOD)), work, **policy)
    assert during == {
        "breaker.open": {("amplitude",): 1},
        "breaker.fenced": {("amplitude",): 8},
        "retry.budget": {("amplitude",): 8},
        "quota.share": {("amplitude",): 1},
    }
    assert after == {("amplitude",): 0}
    assert telemetry.values("profilekit.events") == {
        ("amplitude", "BreakerOpened"): 1,
        ("amplitude", "BreakerClosed"): 1,
    }


def test_a_pause_is_counted_with_its_length_and_the_quota_is_less_than_whole():
    telemetry = Telemetry()

    async def work(one):
        await one.send(GET)
        return telemetry.values("profilekit.quota.share")

    share = run(telemetry, Stub(answering(response(429, retry_after="7"), GOOD)), work)
    assert share["amplitude",] < 1
    assert telemetry.values("profilekit.events") == {("amplitude", "Paused"): 1}
    assert telemetry.values("profilekit.pause.time") == {("amplitude",): pytest.approx(7)}
    assert telemetry.values("profilekit.quota.share") == {}


# ---- outboxes and jobs ---------------------------------------------------------------------------


async def test_an_outbox_shows_how_much_waits_and_for_how_long(tmp_path):
    telemetry = Telemetry()
    gate = asyncio.Event()

    class Held(Stub):
        async def exchange(self, request, deadline, sent):
            await gate.wait()
            return await super().exchange(request, deadline, sent)

    refused = answering(response(400), response(204))
    account = userflux.Account(write_key=KEY)
    async with ProfileClient(account, transport=Held(refused), observer=telemetry.observer) as one:
        async with Outbox(tmp_path / "writes.db", one) as outbox:
            for name in ("a", "b"):
                await outbox.put(userflux.UpdateProfile(f"{ID}-{name}", properties={"plan": BODY}))
            before = looked(telemetry, "outbox", "pending", "age", "held")
            gate.set()
            await outbox.drained()
            after = looked(telemetry, "outbox", "pending", "delivered", "dead")
    named = ("writes.db",)
    assert (before["pending"], before["held"]) == ({named: 2}, {named: 0})
    assert 0 < before["age"][named] < 60
    assert after == {"pending": {named: 0}, "delivered": {named: 1}, "dead": {named: 1}}
    assert telemetry.values("profilekit.events") == {("userflux", "DeadLetter", "InvalidRequestError"): 1}
    assert telemetry.values("profilekit.outbox.pending") == {}


async def test_a_job_shows_how_far_it_is(tmp_path):
    telemetry = Telemetry()
    seen = []

    def look(request):
        seen.append(looked(telemetry, "job", "rows.planned", "rows.done", "rows.failed"))
        return response(404) if len(seen) == 1 else GOOD

    (tmp_path / "users.txt").write_text("".join(f"{ID}-{number}\n" for number in range(5)))
    job = bulk.Job(source=tmp_path / "users.txt", request=amplitude.GetProfile, output=tmp_path / "out.jsonl")
    account = amplitude.Account(secret_key=KEY, max_in_flight=1)
    async with ProfileClient(account, transport=Stub(look), observer=telemetry.observer) as one:
        await bulk.run(job, one)
    name = "amplitude.GetProfile"
    assert seen[0] == {"rows.planned": {(name,): 5}, "rows.done": {(name,): 0}, "rows.failed": {}}
    assert seen[-1]["rows.done"][name,] >= 2
    assert seen[-1]["rows.failed"] == {(name, "ProfileNotFoundError"): 1}
    assert telemetry.values("profilekit.job.rows.planned") == {}


def test_a_look_at_what_changes_at_that_moment_is_left_for_the_next_time(caplog):
    telemetry = Telemetry()
    changing = [True]

    def look():
        if changing[0]:
            raise RuntimeError("dictionary changed size during iteration")
        return bulk.Progress()

    telemetry.observer.changed(Opened("job", "one", look))
    assert telemetry.values("profilekit.job.rows.planned") == {}
    changing[0] = False
    assert telemetry.values("profilekit.job.rows.planned") == {("one",): 0}
    telemetry.observer.changed(Closed("job", "one", look))
    assert telemetry.values("profilekit.job.rows.planned") == {}
    assert "Callback failed" not in caplog.text


# ---- nothing secret, nothing in the way ----------------------------------------------------------


async def test_no_id_no_key_and_no_body_is_exported_or_logged(caplog, tmp_path):
    caplog.set_level(logging.DEBUG, "profilekit")
    telemetry = Telemetry(propagate=True)
    async with Simulator() as simulator:
        first, second = simulator.accounts()
        async with ProfileClient(first, second, observer=telemetry.observer, retry=Retry(first=0.001)) as one:
            async with Outbox(tmp_path / "writes.db", one) as outbox:
                await outbox.put(userflux.UpdateProfile(ID, properties={"plan": BODY}))
                await outbox.drained()
            await one.send(userflux.GetProfile(ID))
            await settled(one, amplitude.GetProfile(ID, get_recs=True, rec_id="canary-rec"))
            simulator.fail(1)
            await one.send_all([userflux.GetProfile(f"{ID}-{number}") for number in range(40)])
    text = telemetry.text() + caplog.text
    assert "BreakerOpened" in text
    secrets = [*first.secrets(), *second.secrets(), "canary"]
    assert [secret for secret in secrets if secret in text] == []
    assert "url.full" not in text


async def test_prometheus_scrapes_it_over_http():
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    observer = OpenTelemetry(meter_provider=provider)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, thread = start_http_server(port, "127.0.0.1", REGISTRY)
    try:
        async with Simulator() as simulator:
            async with ProfileClient(*simulator.accounts(), observer=observer) as one:
                await one.send_all([userflux.GetProfile(f"user-{number}") for number in range(5)])
                text = await asyncio.to_thread(_scraped, port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        provider.shutdown()
    lines = text.splitlines()
    (count,) = [line for line in lines if line.startswith("http_client_request_duration_seconds_count")]
    assert 'url_template="/' in count
    assert count.endswith(" 5.0")
    requests = [line for line in lines if line.startswith("profilekit_requests_total{")]
    assert [line.endswith(" 5.0") for line in requests if 'vendor="userflux"' in line] == [True]
    assert any(line.startswith("profilekit_retry_budget{") for line in lines)


def _scraped(port):
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def test_it_can_be_read_from_another_thread_all_the_while(caplog):
    telemetry = Telemetry(sample=0.1)
    done, failures = threading.Event(), []

    def read():
        while not done.is_set():
            try:
                telemetry.text()
            except RuntimeError as error:
                failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        kinds = [response(status) for status in (200, 400, 401, 403, 404, 409, 418)]
        stub = Stub(lambda request: kinds[hash(request.target) % len(kinds)])
        requests = [amplitude.GetProfile(f"user-{number}") for number in range(500)]
        run(telemetry, stub, lambda one: one.send_all(requests))
    finally:
        done.set()
        thread.join()
    assert failures == []
    assert "Callback failed" not in caplog.text
    assert sum(point.value for point in telemetry.points("profilekit.attempts")) == 500


def test_without_providers_nothing_is_exported_and_everything_works():
    async def main():
        account = amplitude.Account(secret_key=KEY)
        async with ProfileClient(account, transport=Stub(), observer=OpenTelemetry()) as one:
            return await one.send(GET)

    assert virtual(main()).user_id == ID


def test_without_the_package_it_says_what_to_install(tmp_path):
    code = """
import sys
sys.modules["opentelemetry"] = None
import profilekit
try:
    import profilekit.otel
except profilekit.errors.ConfigError as error:
    print(error)
"""
    command = [sys.executable, "-P", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "OpenTelemetry needs an extra: pip install 'profilekit[otel]'\n"


def test_the_documentation_names_every_instrument_and_attribute():
    sources = "".join(path.read_text() for path in Path(otel.__file__).parent.glob("*.py"))
    names = set(re.findall(r'"((?:http|url|server|error|profilekit)\.[a-z_.]+)"', sources))
    assert len(names) > 25
    assert [name for name in names if f"``{name}``" not in otel.__doc__] == []
