"""Jobs from a list to an output, over a stub transport."""

import asyncio
import csv
import json
import os
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from stub import AMPLITUDE, Stub, response

from profilekit import Breaker, Cache, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.bulk import Job, Outlook, Progress, look_ahead, run, sending
from profilekit.bulk import journal as journal_module
from profilekit.bulk import output as output_module
from profilekit.bulk.rows import Row
from profilekit.bulk.sink import Layout, open_sink
from profilekit.errors import AuthError, ClientClosedError, ConfigError, ConnectionFailedError

UNBOUND = Rate(1_000_000, per=1)
ACCOUNTS = (
    amplitude.Account(secret_key="key", rate=UNBOUND, max_in_flight=8),
    userflux.Account(write_key="key", rate=UNBOUND, max_in_flight=8),
)
# As many as all accounts allow in flight; as many may be through but not taken yet.
WINDOW = 16


def user_of(request):
    return request.target.partition("user_id=")[2].partition("&")[0]


def answer(request):
    user = user_of(request)
    if user.startswith("lost"):
        return response(404, b"not here, \xe2\x80\xa8 really")
    return response(200, b'{"userData": {"user_id": "%s", "amp_props": {"n": 1, "x": null}}}' % user.encode())


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


async def done(job, stub=None, **options):
    async with ProfileClient(*ACCOUNTS, transport=stub or Stub(answer), retry=Retry(attempts=1)) as client:
        return await run(job, client, **options)


def enrichment(source, output, **options):
    return Job(source=source, request=amplitude.GetProfile, output=output, **options)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# ---- what comes out ----------------------------------------------------------------------------


async def test_csv_to_jsonl(tmp_path):
    source = written(tmp_path, "in.csv", "user_id,team\nu1,red\nlost,blue\nu2,\n")
    report = await done(enrichment(source, tmp_path / "out.jsonl"))
    rows = lines(tmp_path / "out.jsonl")
    assert rows[0] == {
        "user_id": "u1",
        "team": "red",
        "profile": {"user_id": "u1", "amp_props": {"n": 1, "x": None}},
        "error": None,
    }
    assert (rows[1]["user_id"], rows[1]["team"], rows[1]["profile"]) == ("lost", "blue", None)
    assert (rows[1]["error"]["type"], rows[1]["error"]["status"]) == ("ProfileNotFoundError", 404)
    assert "404" in rows[1]["error"]["message"]
    assert rows[2]["team"] == ""
    assert (report.rows, report.succeeded, report.failed) == (3, 2, {"ProfileNotFoundError": 1})
    assert (report.sent, report.is_complete) == (3, True)


async def test_an_answer_over_several_lines_is_one_line_of_the_output(tmp_path):
    body = b'{"userData": {\n "device_id": null,\r\n "amp_props": {\r\n  "price": 1.10\n }\n}\n}\n'
    for name in ("out.jsonl", "out.csv"):
        await done(enrichment(["u1", "u2"], tmp_path / name), Stub(lambda _: response(200, body)))
    assert [row["profile"]["amp_props"] for row in lines(tmp_path / "out.jsonl")] == [{"price": 1.1}] * 2
    assert (tmp_path / "out.jsonl").read_text().count("1.10") == 2
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3


class Untouched(msgspec.Struct):
    amp_props: msgspec.Raw


@pytest.mark.parametrize("into", [Untouched, msgspec.Raw])
async def test_what_the_caller_leaves_undecoded_is_one_line_too(tmp_path, into):
    body = b'{"userData": {"amp_props":\r\n {"a":\n1}}}'
    job = enrichment(["u1", "u2"], tmp_path / "out.jsonl", into=into)
    await done(job, Stub(lambda _: response(200, body)))
    assert [row["profile"]["amp_props"] for row in lines(tmp_path / "out.jsonl")] == [{"a": 1}] * 2


@pytest.mark.parametrize("properties", [b"[1]", b'{"a": "\xff"}', b'{"a": 1,}'])
async def test_an_answer_that_is_no_profile_is_the_error_of_its_row(tmp_path, properties):
    def odd(request):
        if user_of(request) == "odd":
            return response(200, b'{"userData": {"user_id": "odd", "amp_props": %b}}' % properties)
        return answer(request)

    report = await done(enrichment(["u1", "odd", "u2"], tmp_path / "out.jsonl"), Stub(odd))
    assert [row["error"] and row["error"]["type"] for row in lines(tmp_path / "out.jsonl")] == [
        None,
        "DecodeError",
        None,
    ]
    assert report.failed == {"DecodeError": 1}


async def test_what_the_client_has_kept_is_not_asked_for_again(tmp_path):
    stub = Stub(answer)
    async with ProfileClient(*ACCOUNTS, transport=stub, cache=Cache(ttl=60)) as client:
        await client.send_all([amplitude.GetProfile("u1"), amplitude.GetProfile("u2")])
        await run(enrichment(["u1", "u2", "u3"], tmp_path / "out.jsonl"), client)
    assert sorted(map(user_of, stub.requests)) == ["u1", "u2", "u3"]
    assert [row["profile"]["user_id"] for row in lines(tmp_path / "out.jsonl")] == ["u1", "u2", "u3"]


class Tree(msgspec.Struct):
    amp_props: dict[str, Any]
    branches: "list[Tree]" = []


async def test_a_struct_within_itself_is_json_in_parquet(tmp_path):
    await done(enrichment(["u1"], tmp_path / "out.parquet", into=Tree))
    (row,) = table_of(tmp_path / "out.parquet").to_pylist()
    assert row["branches"] == "[]"


class Cents(msgspec.Struct):
    amp_props: dict[str, Any]
    euros: float = 0.0

    def __post_init__(self):
        self.euros += self.amp_props["n"] / 100


async def test_code_of_the_callers_own_struct_runs_once_for_an_answer(tmp_path):
    await done(enrichment(["u1"], tmp_path / "out.parquet", into=Cents))
    assert table_of(tmp_path / "out.parquet").to_pylist()[0]["euros"] == 0.01


@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("odd", [b"[" * 300 + b"]" * 300, b"340282366920938463463374607431768211456"])
async def test_a_property_that_cannot_be_a_column_is_the_error_of_its_row(tmp_path, form, odd):
    def deep(request):
        value = odd if user_of(request) == "odd" else b"[[1]]"
        return response(200, b'{"userData": {"amp_props": {"tree": %b, "cohort": 1}}}' % value)

    job = enrichment(["u1", "odd", "u2"], tmp_path / f"out.{form}", properties=("tree", "cohort"))
    report = await done(job, Stub(deep))
    assert (report.succeeded, report.failed, report.is_complete) == (2, {"DecodeError": 1}, True)


async def test_of_two_runs_that_begin_together_one_is_refused(tmp_path):
    stub = Stub(answer, latency=0.05)
    job = enrichment([f"u{number}" for number in range(20)], tmp_path / "out.jsonl")
    runs = await asyncio.gather(done(job, stub), done(job, stub), return_exceptions=True)
    (refused,) = [each for each in runs if isinstance(each, Exception)]
    assert isinstance(refused, ConfigError)
    assert "another run of the job is at work" in str(refused)
    assert len(stub.requests) == 20
    assert len(lines(tmp_path / "out.jsonl")) == 20


async def test_jsonl_to_csv(tmp_path):
    content = '{"user_id": "u1", "tags": ["a"], "n": null}\n{"user_id": "lost", "extra": true}\n'
    await done(enrichment(written(tmp_path, "in.jsonl", content), tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user_id", "tags", "n", "extra", "profile", "error"]
    assert (rows[0]["tags"], rows[0]["n"], rows[0]["extra"]) == ('["a"]', "", "")
    assert orjson.loads(rows[0]["profile"])["user_id"] == "u1"
    assert rows[0]["error"] == ""
    assert rows[1]["extra"] == "true"
    assert rows[1]["profile"] == ""
    assert rows[1]["error"].startswith("ProfileNotFoundError: amplitude.GetProfile: the vendor answered 404")


async def test_rows_keep_their_order_and_ids_that_come_again_are_fetched_once(tmp_path):
    order = [f"u{n % 7}" for n in range(100)] + ["lost"] * 3 + [f"v{n}" for n in range(100)] + ["u3"]
    stub = Stub(answer)
    await done(enrichment(order, tmp_path / "out.jsonl"), stub)
    rows = lines(tmp_path / "out.jsonl")
    assert [row["user_id"] for row in rows] == order
    for row in rows:
        if row["user_id"] == "lost":
            assert row["error"]["type"] == "ProfileNotFoundError"
        else:
            assert row["profile"]["user_id"] == row["user_id"]
    assert len(stub.requests) == 7 + 1 + 100


async def test_bad_rows_and_bad_ids_are_in_the_output_with_their_line(tmp_path):
    source = written(tmp_path, "in.csv", 'user_id,n\nu1,1\n,2\nu2\nnull,3\nu1,4\n" ",5\n')
    stub = Stub(answer)
    report = await done(enrichment(source, tmp_path / "out.jsonl"), stub)
    errors = [row["error"] and row["error"]["message"] for row in lines(tmp_path / "out.jsonl")]
    assert errors[0] is None
    assert errors[1].startswith("line 3: ")
    assert "blank" in errors[1]
    assert "line 4 has 1 cells under 2 columns" in errors[2]
    assert "line 5: amplitude.GetProfile: user_id is 'null': an id got lost" in errors[3]
    assert errors[4] is None
    assert "line 7: " in errors[5]
    assert len(stub.requests) == 1
    assert (report.succeeded, report.failed) == (2, {"ConfigError": 4})
    # Nothing that could be sent has failed, so there is nothing to retry.
    assert report.journal is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.jsonl"]


async def test_odd_cells_are_one_cell_each(tmp_path):
    cells = ["a\rb", "a\nb", 'a"b', "a,b", " a ", "é日", ""]
    source = [{"user_id": f"u{number}", "cell": cell} for number, cell in enumerate(cells)]
    stub = Stub(lambda request: response(200, b'{"userData": {"amp_props": {"a\\"b,\\n": "x\\ny"}}}'))
    await done(enrichment(source, tmp_path / "out.csv"), stub)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["cell"] for row in rows] == cells
    assert [json.loads(row["profile"])["amp_props"] for row in rows] == [{'a"b,\n': "x\ny"}] * len(cells)


async def test_an_output_may_be_compressed(tmp_path):
    import gzip

    for name in ("out.jsonl.gz", "out.csv.gz"):
        await done(enrichment(["u1", "u2"], tmp_path / name))
        with gzip.open(tmp_path / name, "rt") as file:
            assert "u2" in file.read()


# ---- what is asked -----------------------------------------------------------------------------


async def test_parameters_of_the_job_and_of_each_row_are_sent(tmp_path):
    source = written(tmp_path, "in.csv", 'user_id,rec,many\nu1,r1,3\nu2,"r1,r2",\nu1,r2,x\nu1,r1,3\n')
    job = enrichment(
        source,
        tmp_path / "out.jsonl",
        parameters={"get_recs": True},
        columns={"rec_id": "rec", "limit": "many"},
    )
    stub = Stub(answer)
    await done(job, stub)
    targets = sorted(request.target.partition("?")[2] for request in stub.requests)
    assert targets == [
        "user_id=u1&get_recs=true&rec_id=r1&limit=3",
        "user_id=u2&get_recs=true&rec_id=r1,r2",
    ]
    errors = [row["error"] and row["error"]["message"] for row in lines(tmp_path / "out.jsonl")]
    assert errors[2].startswith("line 4: the cell under 'many' cannot be used")
    assert (errors[0], errors[1], errors[3]) == (None, None, None)


async def test_the_id_may_be_another_field(tmp_path):
    stub = Stub(answer)
    await done(enrichment(["d1"], tmp_path / "out.jsonl", id_field="device_id"), stub)
    assert stub.requests[0].target.endswith("?device_id=d1")


async def test_named_properties_are_columns(tmp_path):
    await done(enrichment(["u1", "lost"], tmp_path / "out.jsonl", properties=("n", "user_id"), prefix="p_"))
    found, lost = lines(tmp_path / "out.jsonl")
    assert found == {"user_id": "u1", "p_n": 1, "p_user_id": "u1", "p_error": None}
    assert (lost["p_n"], lost["p_error"]["status"]) == (None, 404)


async def test_a_struct_of_ones_own_is_what_comes_out(tmp_path):
    class Props(msgspec.Struct):
        amp_props: dict[str, int | None]

    await done(enrichment(["u1"], tmp_path / "out.jsonl", into=Props))
    assert lines(tmp_path / "out.jsonl")[0]["profile"] == {"amp_props": {"n": 1, "x": None}}


# ---- updates -----------------------------------------------------------------------------------


def update(source, **options):
    return Job(source=source, request=userflux.UpdateProfile, rest="properties", **options)


async def test_every_other_column_is_a_property_typed_from_the_file(tmp_path):
    source = written(
        tmp_path,
        "in.csv",
        "user_id,plan,visits,score,zip,active,half\nu1,pro,3,1.5,00123,true,\nu2,,4,2,99,FALSE,x\nu3,,,,,,\n",
    )
    stub = Stub(lambda request: response(204))
    report = await done(update(source), stub)
    assert sorted(
        map(json.loads, (request.body for request in stub.requests)), key=lambda b: b["userId"]
    ) == [
        {
            "userId": "u1",
            "properties": {"plan": "pro", "visits": 3, "score": 1.5, "zip": "00123", "active": True},
        },
        {
            "userId": "u2",
            "properties": {"visits": 4, "score": 2.0, "zip": "99", "active": False, "half": "x"},
        },
    ]
    assert (report.succeeded, report.failed) == (2, {"ConfigError": 1})
    assert list(tmp_path.iterdir()) == [source]


async def test_typed_rows_are_sent_as_they_are(tmp_path):
    stub = Stub(lambda request: response(204))
    rows = [{"user_id": "u1", "n": "007", "tags": ["a"], "none": None, "ext": 5}]
    await done(update(rows, output=tmp_path / "out.jsonl", columns={"external_id": "ext"}), stub)
    assert json.loads(stub.requests[0].body) == {
        "userId": "u1",
        "properties": {"n": "007", "tags": ["a"]},
        "externalId": "5",
    }
    assert lines(tmp_path / "out.jsonl") == [{**rows[0], "error": None}]


async def test_rows_of_one_user_are_sent_in_their_order_and_others_do_not_wait(tmp_path):
    under_way = Counter()
    arrived = {}

    class Slow(Stub):
        async def exchange(self, request, deadline, sent):
            body = json.loads(request.body)
            user = body["userId"]
            under_way[user] += 1
            assert under_way[user] == 1
            arrived.setdefault(user, []).append(body["properties"]["n"])
            # Some take long, so that whoever does not wait for them overtakes them.
            for _ in range(20 if body["properties"]["n"] % 3 == 0 else 0):
                await asyncio.sleep(0)
            under_way[user] -= 1
            sent()
            return response(204)

    rows = [{"user_id": f"u{n % 5 if n < 2000 else 1}", "n": n} for n in range(6000)]
    report = await done(update(rows, output=tmp_path / "out.jsonl"), Slow())
    assert report.succeeded == 6000
    for user in range(5):
        sent = arrived[f"u{user}"]
        assert sent == sorted(sent)
    assert sum(map(len, arrived.values())) == 6000


# ---- how it ends, and goes on ------------------------------------------------------------------


async def test_a_job_that_was_stopped_goes_on_where_it_was(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)] + ["lost"], tmp_path / "out.jsonl")
    stop = asyncio.Event()
    stub = Stub(lambda request: (stop.set() if user_of(request) == "u40" else None, answer(request))[1])
    report = await done(job, stub, stop=stop)
    first = len(stub.requests)
    assert 41 <= first <= 41 + 2 * WINDOW
    assert (report.is_complete, report.succeeded, report.journal) == (False, first, job.journal)
    assert not (tmp_path / "out.jsonl").exists()
    again = Stub(answer)
    report = await done(job, again)
    assert len(again.requests) == 101 - first
    assert {user_of(request) for request in stub.requests + again.requests} == {
        *(f"u{n}" for n in range(100)),
        "lost",
    }
    assert (report.is_complete, report.succeeded, report.sent) == (True, 100, 101 - first)
    assert [row["user_id"] for row in lines(tmp_path / "out.jsonl")] == list(job.source)


THROTTLED = response(429, b"", Retry_After="3600")


@pytest.mark.parametrize(
    ("rate", "reply"),
    [(Rate(1, per=3600), None), (UNBOUND, THROTTLED)],
    ids=["a permit", "a pause"],
)
@pytest.mark.parametrize("is_read", [True, False])
async def test_a_stop_does_not_wait_for_permits(tmp_path, rate, reply, is_read):
    stop = asyncio.Event()

    def once(request):
        asyncio.get_running_loop().call_soon(stop.set)
        return reply or (answer(request) if is_read else response(204))

    users = ["u1", "u2", "u3"]
    job = (enrichment if is_read else update)(
        [{"user_id": user, "n": 1} for user in users], output=tmp_path / "out.jsonl"
    )
    accounts = [msgspec.structs.replace(account, rate=rate) for account in ACCOUNTS]
    stub = Stub(once)
    async with ProfileClient(*accounts, transport=stub, retry=Retry(attempts=9)) as client:
        report = await run(job, client, stop=stop)
        assert client.stats().vendors["amplitude" if is_read else "userflux"].in_flight == 0
    assert not report.is_complete
    assert report.succeeded == (0 if reply else 1)
    again = Stub(lambda request: answer(request) if is_read else response(204))
    report = await done(job, again)
    assert (report.is_complete, report.succeeded) == (True, 3)
    assert len(again.requests) == (3 if reply else 2)


async def test_a_stop_lets_what_is_with_the_vendor_be_answered(tmp_path):
    stop = asyncio.Event()
    stub = Stub(lambda request: (stop.set(), answer(request))[1], latency=0.05)
    report = await done(enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl"), stub, stop=stop)
    assert (report.is_complete, report.succeeded) == (False, len(stub.requests))
    assert len(stub.requests) == ACCOUNTS[0].max_in_flight


async def test_a_stop_does_not_wait_for_an_answer_that_does_not_come(tmp_path, monkeypatch):
    monkeypatch.setattr(sending, "_GRACE", 0.01)
    stop, silent = asyncio.Event(), Stub(latency=3600)
    job = enrichment(["u1", "u2"], tmp_path / "out.jsonl")
    running = asyncio.create_task(done(job, silent, stop=stop))
    while not silent.requests:
        await asyncio.sleep(0)
    stop.set()
    report = await running
    assert (report.is_complete, report.succeeded, silent.under_way) == (False, 0, 0)
    assert (await done(job)).succeeded == 2


async def test_a_stop_keeps_a_job_that_is_answered_from_writing(tmp_path):
    stop = asyncio.Event()
    job = enrichment(["u1"], tmp_path / "out.jsonl")
    report = await done(job, Stub(lambda request: (stop.set(), answer(request))[1]), stop=stop)
    assert (report.is_complete, report.succeeded, job.output.exists()) == (False, 1, False)
    report = await done(job)
    assert (report.is_complete, report.sent, len(lines(job.output))) == (True, 0, 1)


async def test_failures_are_retried_when_that_is_asked_for(tmp_path):
    job = enrichment(["u1", "lost1", "u2", "lost2", "lost1"], tmp_path / "out.jsonl")
    report = await done(job)
    assert report.journal == job.journal
    assert report.failed == {"ProfileNotFoundError": 3}
    stub = Stub(lambda request: response(200, AMPLITUDE))
    report = await done(job, stub, retry_failed=True)
    assert sorted(map(user_of, stub.requests)) == ["lost1", "lost2"]
    assert (report.succeeded, report.failed, report.journal) == (5, {}, None)
    assert [row["profile"]["user_id"] for row in lines(tmp_path / "out.jsonl")] == [
        "u1",
        "lost1",
        "u2",
        "lost2",
        "lost1",
    ]
    assert not job.journal.exists()
    with pytest.raises(ConfigError, match="no failures to retry"):
        await done(job, retry_failed=True)


async def test_a_job_that_came_to_its_end_is_run_anew(tmp_path):
    job = enrichment(["u1", "lost"], tmp_path / "out.jsonl")
    await done(job)
    stub = Stub(answer)
    await done(enrichment(["u1", "lost", "u3"], tmp_path / "out.jsonl"), stub)
    assert len(stub.requests) == 3


async def test_a_journal_of_another_input_or_other_options_is_refused(tmp_path):
    stop = asyncio.Event()
    stop.set()
    output = tmp_path / "out.jsonl"
    await done(enrichment(["u1"], output), stop=stop)
    stub = Stub(answer)
    for other, difference in (
        (enrichment(["u2"], output), "input"),
        (enrichment(["u1"], output, parameters={"get_recs": True}), "parameters"),
        (enrichment(["u1"], output, properties=("n",)), "properties"),
        (Job(source=["u1"], request=userflux.GetProfile, output=output), "request"),
    ):
        with pytest.raises(ConfigError, match=f"by its {difference}: .* fresh=True"):
            async with ProfileClient(ACCOUNTS[0], userflux.Account(read_key="key"), transport=stub) as client:
                await run(other, client)
    assert stub.requests == []
    report = await done(enrichment(["u2"], output), stub, fresh=True)
    assert report.succeeded == 1


async def test_a_vendor_that_is_down_is_waited_for(tmp_path):
    down = True
    probes = 0

    def failing(request):
        nonlocal down, probes
        if down:
            probes += 1
            down = probes < 25
            return response(503)
        return answer(request)

    breaker = Breaker(failures=5, probe_every=0.01)
    async with ProfileClient(
        *ACCOUNTS, transport=Stub(failing), breaker=breaker, retry=Retry(attempts=1)
    ) as client:
        report = await run(enrichment([f"u{n}" for n in range(200)], tmp_path / "out.jsonl"), client)
    # Only those that came before the breaker knew.
    assert 1 <= report.failed["VendorUnavailableError"] <= 5 + 2 * WINDOW
    assert report.succeeded == 200 - report.failed["VendorUnavailableError"]
    assert report.sent == 200 + probes - report.failed["VendorUnavailableError"]


async def test_a_key_that_is_refused_ends_the_job_and_loses_nothing(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl")
    stub = Stub(lambda request: response(401) if user_of(request) == "u50" else answer(request))
    with pytest.raises(AuthError):
        await done(job, stub)
    assert len(stub.requests) <= 51 + 2 * WINDOW
    again = Stub(answer)
    report = await done(job, again)
    assert report.succeeded == 100
    assert len(stub.requests) + len(again.requests) == 101


async def test_a_client_that_closes_meanwhile_ends_the_job_and_loses_nothing(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl")

    class Closing(Stub):
        async def exchange(self, request, deadline, sent):
            if len(self.requests) == 30:
                self.closing = asyncio.get_running_loop().create_task(self.client.close())
                await asyncio.sleep(0)
            return await super().exchange(request, deadline, sent)

    stub = Closing(answer)
    async with ProfileClient(*ACCOUNTS, transport=stub) as stub.client:
        with pytest.raises(ClientClosedError):
            await run(job, stub.client)
    await stub.closing
    report = await done(job)
    assert report.succeeded == 100


async def test_a_disk_that_is_full_ends_the_job_and_loses_nothing(tmp_path, monkeypatch):
    job = enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl")
    write, written = os.write, 0

    def full(file, data):
        nonlocal written
        if written > 3000:
            raise OSError(28, "No space left on device")
        # The last write before the end is a short one.
        written += len(data)
        return write(file, data[:10] if written > 3000 else data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        await done(job)
    monkeypatch.undo()
    report = await done(job)
    assert report.succeeded == 100
    assert report.sent < 100
    assert [row["profile"]["user_id"] for row in lines(tmp_path / "out.jsonl")] == list(job.source)


async def test_a_job_can_be_cancelled(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl")
    stub = Stub(answer, latency=0.001)
    task = asyncio.create_task(done(job, stub))
    while len(stub.requests) < 30:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stub.closed
    report = await done(job)
    assert (report.succeeded, report.is_complete) == (100, True)
    assert report.sent <= 100 - 30 + WINDOW


async def test_looking_ahead_says_what_would_be_sent(tmp_path):
    source = ["u1", "lost", "u1", "null", "u2"]
    job = enrichment(source, tmp_path / "out.jsonl")
    assert await look_ahead(job) == Outlook(rows=5, bad=1, requests=3, done=0, failed=0)
    assert list(tmp_path.iterdir()) == []
    await done(job)
    assert await look_ahead(job) == Outlook(rows=5, bad=1, requests=3, done=0, failed=0)
    assert await look_ahead(job, retry_failed=True) == Outlook(rows=5, bad=1, requests=1, done=4, failed=2)


async def test_a_row_is_never_given_the_profile_of_another_that_took_its_place(tmp_path):
    source = written(tmp_path, "in.txt", "u1\nu2\nu3\n")
    stub = Stub(lambda request: (source.write_text("u3\nu2\nu1\n"), answer(request))[1])
    with pytest.raises(ConfigError, match="the input changed"):
        await done(enrichment(source, tmp_path / "out.jsonl"), stub)
    assert not (tmp_path / "out.jsonl").exists()


async def test_two_runs_of_a_job_at_once_are_refused(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)], tmp_path / "out.jsonl")
    ends = await asyncio.gather(done(job), done(job), return_exceptions=True)
    assert [type(end).__name__ for end in ends if isinstance(end, Exception)] == ["ConfigError"]
    assert [row["profile"]["user_id"] for row in lines(tmp_path / "out.jsonl")] == list(job.source)


async def test_the_same_bytes_read_in_another_way_are_another_job(tmp_path):
    stop = asyncio.Event()
    stop.set()
    source = written(tmp_path, "in.txt", "user_id\tn\nu1\t1\n")
    await done(enrichment(source, tmp_path / "out.jsonl"), stop=stop)
    with pytest.raises(ConfigError, match="by its form:"):
        await done(enrichment(source.rename(tmp_path / "in.tsv"), tmp_path / "out.jsonl"))


async def test_whoever_is_cancelled_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    writing, go_on = threading.Event(), threading.Event()
    whole = output_module.open_sink

    @contextmanager
    def slow(path, layout, mode):
        with whole(path, layout, mode) as write:
            writing.set()
            go_on.wait()
            yield write

    monkeypatch.setattr(output_module, "open_sink", slow)
    job = enrichment(["u1", "u2"], tmp_path / "out.jsonl")
    task = asyncio.create_task(done(job))
    await asyncio.to_thread(writing.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.journal"]
    monkeypatch.undo()
    report = await done(job)
    assert (report.succeeded, report.sent) == (2, 0)


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_whoever_is_cancelled_while_a_journal_is_read_leaves_no_file_open(tmp_path, monkeypatch):
    stop = asyncio.Event()
    stop.set()
    job = enrichment(["u1"], tmp_path / "out.jsonl")
    await done(job, stop=stop)
    reading, go_on = threading.Event(), threading.Event()
    look = journal_module.Journal.look

    def slow(journal, identity):
        reading.set()
        go_on.wait()
        look(journal, identity)

    monkeypatch.setattr(journal_module.Journal, "look", slow)
    before = open_files()
    task = asyncio.create_task(done(job))
    await asyncio.to_thread(reading.wait)
    task.cancel()
    asyncio.get_running_loop().call_later(0, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert open_files() == before
    monkeypatch.undo()
    assert (await done(job)).succeeded == 1


async def test_what_is_no_property_is_an_empty_column(tmp_path):
    names = ("n", "__class__", "__struct_fields__", "nothing")
    await done(enrichment(["u1"], tmp_path / "out.jsonl", properties=names))
    (row,) = lines(tmp_path / "out.jsonl")
    assert [row[name] for name in names] == [1, None, None, None]


async def test_an_error_of_the_disk_that_is_said_once_ends_the_job(tmp_path, monkeypatch):
    failures = iter([None, OSError(5, "Input/output error")])
    fsync = os.fsync

    def failing(file):
        error = next(failures, None)
        if error is not None:
            raise error
        fsync(file)

    monkeypatch.setattr(sending, "_SYNC_EVERY", 0.0)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        await done(enrichment([f"u{n}" for n in range(2_000)], tmp_path / "out.jsonl"))


async def test_failures_are_retried_only_after_all_else_is_through(tmp_path):
    job = enrichment([f"u{n}" for n in range(100)] + ["lost"], tmp_path / "out.jsonl")
    stop = asyncio.Event()
    stub = Stub(lambda request: (stop.set() if user_of(request) == "u40" else None, answer(request))[1])
    await done(job, stub, stop=stop)
    with pytest.raises(ConfigError, match="is not through"):
        await done(job, retry_failed=True)
    await done(job)
    stopped = asyncio.Event()
    stopped.set()
    progress = Progress()
    report = await done(job, retry_failed=True, stop=stopped, progress=progress)
    assert (report.is_complete, report.sent) == (False, 0)
    assert (progress.done, progress.total) == (100, 101)
    # One that was stopped is not at its end, so what is done is not done again.
    assert (await done(job)).sent == 0
    assert (await done(job, retry_failed=True)).sent == 1


async def test_rows_that_ask_for_different_things_are_not_taken_for_one(tmp_path):
    rows = [{"user_id": "u1", "rec": rec} for rec in (None, "None", ["a"], "['a']", "a")] + [
        {"user_id": "u1"}
    ]
    stub = Stub(answer)
    await done(enrichment(rows, tmp_path / "out.jsonl", columns={"rec_id": "rec"}), stub)
    assert len(stub.requests) == 5


async def test_a_list_of_no_rows_keeps_its_columns(tmp_path):
    for name, content in (("in.csv", "user_id,team\n"), ("in.txt", "")):
        await done(enrichment(written(tmp_path, name, content), tmp_path / "out.csv"))
        columns = "user_id,team" if name == "in.csv" else "user_id"
        assert (tmp_path / "out.csv").read_bytes() == f"{columns},profile,error\r\n".encode()
        await done(enrichment(tmp_path / name, tmp_path / "out.parquet"))
        table = table_of(tmp_path / "out.parquet")
        assert (table.num_rows, ",".join(table.column_names)) == (0, f"{columns},profile,error")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (7.5, "row 2 is neither a mapping nor an id"),
        (None, "row 2 is neither"),
        (b"u1", "row 2 is neither"),
        ({"user_id": "u", "n": float("nan")}, "row 2 cannot be kept as JSON: NaN"),
        ({"user_id": "u", "n": 2**70}, "row 2 cannot be kept as JSON"),
        ({"user_id": "u", 3: "n"}, "row 2 cannot be kept as JSON"),
    ],
)
async def test_a_row_that_is_none_is_told_by_its_number(tmp_path, row, reason):
    with pytest.raises(ConfigError, match=reason):
        await done(enrichment(["u1", row], tmp_path / "out.jsonl"))
    assert list(tmp_path.iterdir()) == []


async def test_a_row_nested_beyond_measure_is_a_bad_row(tmp_path):
    deep = '{"user_id":"u1","n":"1234567890123456789","x":' + "[" * 990 + "]" * 990 + "}"
    report = await done(
        enrichment(written(tmp_path, "in.jsonl", f"{deep}\n" + '{"user_id":"u2"}'), tmp_path / "o.csv")
    )
    assert (report.succeeded, report.failed) == (1, {"ConfigError": 1})


async def test_an_object_in_a_cell_is_one(tmp_path):
    source = written(tmp_path, "in.csv", 'user_id,device,plan\nu1,"{""os"": ""x""}",pro\n')
    stub = Stub(lambda request: response(204))
    await done(update(source, columns={"device_data": "device"}), stub)
    assert json.loads(stub.requests[0].body)["deviceData"] == {"os": "x"}


# ---- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"request": amplitude.Profile}, "must be a class of requests"),
        ({"parameters": {"get_rex": True}}, "amplitude.GetProfile has no 'get_rex'; it has user_id"),
        ({"parameters": {"limit": "many"}}, "limit"),
        ({"columns": {"nothing": "c"}}, "has no 'nothing'"),
        ({"columns": {"user_id": "c"}}, "user_id is given twice"),
        ({"parameters": {"limit": 1}, "columns": {"limit": "c"}}, "limit is given twice"),
        ({"into": dict, "properties": ("a",)}, "not both"),
        ({"output": None}, "needs an output"),
        ({"output": "out.xml"}, "the output is .jsonl, .csv"),
        ({"output": "no/such/folder/out.csv"}, "is no folder"),
        ({"output": "."}, "the output is"),
        ({"request": userflux.UpdateProfile, "output": None}, "give an output, or a file to read"),
        ({"source": "same.csv", "output": "same.csv"}, "same.csv is what is read"),
        ({"source": "out.jsonl.journal"}, "is what is read"),
        (
            {"request": userflux.UpdateProfile, "rest": "properties", "columns": {"properties": "p"}},
            "given twice",
        ),
        ({"request": userflux.UpdateProfile, "rest": "user_id"}, "given twice"),
    ],
)
def test_a_job_that_cannot_work_is_refused_when_it_is_made(tmp_path, monkeypatch, options, reason):
    monkeypatch.chdir(tmp_path)
    given = {"source": ["u1"], "request": amplitude.GetProfile, "output": "out.jsonl", **options}
    with pytest.raises(ConfigError, match=reason):
        Job(**given)


async def test_what_the_client_cannot_send_is_refused_before_anything_is_written(tmp_path):
    async with ProfileClient(ACCOUNTS[1], transport=Stub()) as client:
        with pytest.raises(ConfigError, match="no account for amplitude"):
            await run(enrichment(["u1"], tmp_path / "out.jsonl"), client)
        with pytest.raises(ConfigError, match="takes a read_key"):
            await run(Job(source=["u"], request=userflux.GetProfile, output=tmp_path / "o.csv"), client)
    with pytest.raises(ClientClosedError):
        await run(enrichment(["u1"], tmp_path / "out.jsonl"), client)
    assert list(tmp_path.iterdir()) == []


async def test_a_prefix_lets_outputs_be_enriched_again(tmp_path):
    await done(enrichment(["u1"], tmp_path / "one.jsonl"))
    with pytest.raises(ConfigError, match="two columns 'profile': give the new ones a prefix"):
        await done(enrichment(tmp_path / "one.jsonl", tmp_path / "two.jsonl"))
    await done(enrichment(tmp_path / "one.jsonl", tmp_path / "two.jsonl", prefix="second_"))
    (row,) = lines(tmp_path / "two.jsonl")
    assert list(row) == ["user_id", "profile", "error", "second_profile", "second_error"]


async def test_an_input_that_changes_meanwhile_is_noticed(tmp_path):
    source = written(tmp_path, "in.txt", "u1\nu2\nu3\n")
    stub = Stub(lambda request: (source.write_text("u1\nu2\nu3\nu4\n"), answer(request))[1])
    with pytest.raises(ConfigError, match="the input changed"):
        await done(enrichment(source, tmp_path / "out.jsonl"), stub)
    assert not (tmp_path / "out.jsonl").exists()


# ---- the file ----------------------------------------------------------------------------------

LAYOUT = Layout(columns=("user_id",), value="profile", parts={}, error="error")


def test_the_output_is_whole_or_not_there(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(AuthError), open_sink(path, LAYOUT):
        assert len(list(tmp_path.iterdir())) == 2
        raise AuthError("stop")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with open_sink(path, LAYOUT):
        pass
    assert path.read_bytes() == b"user_id,profile,error\r\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("umask", [0, 0o077])
@pytest.mark.parametrize("name", ["out.csv", "out.jsonl.gz", "out.parquet"])
async def test_only_its_owner_can_read_an_output_unless_its_mode_says_otherwise(tmp_path, name, umask):
    path = tmp_path / name
    # An earlier file lets others read, and must not let them read what replaces it.
    path.touch()
    path.chmod(0o644)
    before = os.umask(umask)
    try:
        for given, mode in ({}, 0o600), ({"mode": 0o640}, 0o640), ({}, 0o600):
            await done(enrichment(["u1"], path, **given))
            assert oct(path.stat().st_mode & 0o777) == oct(mode)
    finally:
        os.umask(before)


def test_an_output_is_private_from_its_first_byte_on(tmp_path):
    before = os.umask(0)
    try:
        with open_sink(tmp_path / "out.csv", LAYOUT, 0o666):
            (part,) = tmp_path.iterdir()
            assert part.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("mode", [640, -1, 0o1644, True, "640"])
def test_a_mode_that_is_none_is_refused(tmp_path, mode):
    with pytest.raises(ConfigError, match=r"mode must be permissions from 0 to 0o777, .* got"):
        enrichment(["u1"], tmp_path / "out.csv", mode=mode)


def test_an_output_keeps_its_place_behind_a_link(tmp_path):
    kept, link = tmp_path / "kept.csv", tmp_path / "link.csv"
    link.symlink_to(kept)
    with open_sink(link, LAYOUT):
        pass
    assert link.is_symlink()
    assert kept.read_text()


def test_a_loop_of_links_is_refused(tmp_path):
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match=r"loop\.csv is a loop of symbolic links: remove it"):
        enrichment(["u1"], loop)
    with pytest.raises(ConfigError, match=r"loop\.csv is a loop of symbolic links"):
        enrichment(loop, tmp_path / "out.csv")
    (tmp_path / "out.csv.journal").symlink_to("out.csv.journal")
    with pytest.raises(ConfigError, match=r"out\.csv\.journal is a loop of symbolic links"):
        enrichment(tmp_path / "in.csv", tmp_path / "out.csv")


# ---- Parquet -----------------------------------------------------------------------------------


def table_of(path):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


async def test_parquet_to_parquet_keeps_every_type(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    columns = {
        "user_id": pa.array(["u1", "lost", None], pa.string()),
        "when": pa.array([datetime(2026, 1, 2, tzinfo=UTC)] * 3, pa.timestamp("us", tz="UTC")),
        "tags": pa.array([["a"], [], None], pa.list_(pa.string())),
        "n": pa.array([1, None, 3], pa.int32()),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
    report = await done(enrichment(tmp_path / "in.parquet", tmp_path / "out.parquet"))
    table = table_of(tmp_path / "out.parquet")
    assert table.column_names == ["user_id", "when", "tags", "n", "profile", "error"]
    for name, column in columns.items():
        assert table.schema.field(name).type == column.type
        assert table[name].to_pylist() == column.to_pylist()
    assert json.loads(table["profile"][0].as_py())["user_id"] == "u1"
    assert table["profile"][1].as_py() is None
    assert json.loads(table["error"][1].as_py())["status"] == 404
    assert "row 3 has no 'user_id'" in table["error"][2].as_py()
    assert report.failed == {"ProfileNotFoundError": 1, "ConfigError": 1}


async def test_columns_of_parquet_have_the_types_of_what_they_hold(tmp_path):
    import pyarrow as pa

    rows = [
        {"user_id": "u1", "n": 1, "x": 1, "mixed": "a", "list": [1]},
        {"user_id": "u2", "n": None, "x": 2.5, "mixed": 1},
    ]
    await done(enrichment(rows, tmp_path / "out.parquet", properties=("n",), prefix="p_"))
    table = table_of(tmp_path / "out.parquet")
    assert {field.name: field.type for field in table.schema} == {
        "user_id": pa.string(),
        "n": pa.int64(),
        "x": pa.float64(),
        "mixed": pa.string(),
        "list": pa.string(),
        "p_n": pa.int64(),
        "p_error": pa.string(),
    }
    assert table.to_pylist()[0] == {
        "user_id": "u1",
        "n": 1,
        "x": 1.0,
        "mixed": "a",
        "list": "[1]",
        "p_n": 1,
        "p_error": None,
    }


async def test_a_struct_makes_typed_columns(tmp_path):
    import pyarrow as pa

    class Device(msgspec.Struct):
        model: str
        ram: int | None = None

    class Mine(msgspec.Struct, rename="camel"):
        user_id: str | None = msgspec.field(name="user_id", default=None)
        cohort_ids: tuple[str, ...] = msgspec.field(name="cohort_ids", default=())
        seen_at: datetime | None = None
        score: float | None = None
        vip: bool | None = None
        device: Device | None = None
        other: dict[str, int] | None = None

    body = (
        b'{"userData": {"user_id": "u1", "cohort_ids": ["a"], "seenAt": "2026-01-02T03:04:05Z", "score": 2,'
        b' "vip": true, "device": {"model": "x"}, "other": {"a": 1}}}'
    )
    stub = Stub(lambda request: response(404) if "lost" in request.target else response(200, body))
    await done(enrichment(["u1", "lost"], tmp_path / "out.parquet", into=Mine, prefix="p_"), stub)
    table = table_of(tmp_path / "out.parquet")
    assert {field.name: field.type for field in table.schema}["p_seenAt"] == pa.timestamp("us", tz="UTC")
    found, lost = table.to_pylist()
    assert found == {
        "user_id": "u1",
        "p_user_id": "u1",
        "p_cohort_ids": ["a"],
        "p_seenAt": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "p_score": 2.0,
        "p_vip": True,
        "p_device": {"model": "x", "ram": None},
        "p_other": '{"a":1}',
        "p_error": None,
    }
    assert (lost["p_user_id"], json.loads(lost["p_error"])["status"]) == (None, 404)


def test_what_a_killed_run_has_half_written_goes_with_the_next_output(tmp_path):
    path = tmp_path / "out[1].jsonl"
    half, other = tmp_path / ".out[1].jsonl.0123abcd.part", tmp_path / ".out1.jsonl.0123abcd.part"
    half.touch()
    other.touch()
    with open_sink(path, LAYOUT):
        pass
    assert sorted(tmp_path.iterdir()) == [other, path]


async def test_a_parquet_output_that_breaks_off_leaves_nothing(tmp_path):
    job = enrichment(["u1"], tmp_path / "out.parquet", properties=("n",))
    with (
        pytest.raises(ConnectionFailedError),
        open_sink(
            job.output,
            msgspec.structs.replace(
                LAYOUT, types={"user_id": "string", "profile": "string", "error": "string"}
            ),
        ) as write,
    ):
        write(Row(1, ("user_id",), ("u1",), "u1"), b"{}", None)
        raise ConnectionFailedError("stop")
    assert list(tmp_path.iterdir()) == []


async def test_odd_types_of_parquet_come_through(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    columns = {
        "user_id": pa.array(["u1", "u2"]).dictionary_encode(),
        "ns": pa.array([1_000, 2_000], pa.timestamp("ns")),
        "raw": pa.array([b"abc", b"\xff"]),
        "day": pa.array([datetime(2024, 10, 4, tzinfo=UTC).date()] * 2),
        "price": pa.array([Decimal("1.10")] * 2),
        "nan": pa.array([float("nan"), 1.5]),
    }
    source = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pa.table(columns), source)
    for name in ("out.parquet", "out.jsonl", "out.csv"):
        assert (await done(enrichment(source, tmp_path / name))).succeeded == 2
    assert table_of(tmp_path / "out.parquet")["raw"].to_pylist() == [b"abc", b"\xff"]
    first, second = lines(tmp_path / "out.jsonl")
    assert (first["raw"], second["raw"], first["price"]) == ("abc", "/w==", "1.10")
    with (tmp_path / "out.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["day"], first["price"], first["raw"], first["nan"]) == ("2024-10-04", "1.10", "abc", "")
    assert first["ns"] == "1970-01-01T00:00:00.000001"


@pytest.mark.parametrize("kind", ["float64", "binary", "bool_"])
async def test_ids_of_parquet_that_can_be_none_are_refused_at_once(tmp_path, kind):
    import pyarrow as pa
    import pyarrow.parquet

    value = {"float64": 1.0, "binary": b"u", "bool_": True}[kind]
    source = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pa.table({"user_id": pa.array([value])}), source)
    with pytest.raises(ConfigError, match="cast them to text or to integers"):
        await done(enrichment(source, tmp_path / "out.jsonl"))


async def test_times_that_cannot_be_read_are_an_error_before_anything_is_sent(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    for column in (pa.array([1], pa.timestamp("ns")), pa.array([10**7], pa.date32())):
        source, stub = tmp_path / "in.parquet", Stub(answer)
        pyarrow.parquet.write_table(pa.table({"user_id": ["u1"], "when": column}), source)
        with pytest.raises(ConfigError, match="cannot be read after row 0"):
            await done(enrichment(source, tmp_path / "out.jsonl"), stub)
        assert stub.requests == []


async def test_types_that_arrow_has_not_are_json(tmp_path):
    class Odd(msgspec.Struct):
        user_id: str
        amp_props: list[dict[str, int]] | dict[str, int | None]
        cohorts: list[int | str] = []

    await done(enrichment(["u1"], tmp_path / "out.parquet", into=Odd, prefix="p_"))
    assert table_of(tmp_path / "out.parquet").to_pylist()[0]["p_amp_props"] == '{"n":1,"x":null}'
    await done(enrichment(["u1"], tmp_path / "out.parquet", into=dict[str, Any]))
    assert json.loads(table_of(tmp_path / "out.parquet")["profile"][0].as_py())["user_id"] == "u1"


async def test_two_columns_of_a_name_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    source = tmp_path / "in.parquet"
    pyarrow.parquet.write_table(pa.table([["u"], [1], [2]], names=["user_id", "a", "a"]), source)
    with pytest.raises(ConfigError, match="same name"):
        await done(enrichment(source, tmp_path / "out.jsonl"))


async def test_what_is_no_parquet_is_said_to_be_none(tmp_path):
    source = written(tmp_path, "in.parquet", b"PAR1 and nothing else")
    with pytest.raises(ConfigError, match="is not Parquet"):
        await done(enrichment(source, tmp_path / "out.jsonl"))
