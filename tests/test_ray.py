"""Lists over Ray: what rows become, whom actors wait for, and a cluster whose actors are killed."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import msgspec
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from clock import virtual
from redises import RedisServer
from stub import Stub, answering, response

from profilekit import Breaker, ProfileClient, Rate, Retry, amplitude, errors, userflux
from profilekit.bulk import Job, run
from profilekit.bulk.sending import record
from profilekit.engine.local import LocalQuota
from profilekit.ray import enrich
from profilekit.ray.asking import Asking
from profilekit.ray.columns import check_free, layout_of, with_answers
from profilekit.ray.parcel import pack
from profilekit.ray.plan import Plan, divided
from profilekit.ray.worker import Worker
from profilekit.simulator import Simulator
from profilekit.simulator.amplitude import SECRET_KEY
from profilekit.simulator.thread import in_thread

HERE = Path(__file__).parent
FAST = Rate(100_000, per=1)
ACCOUNT = amplitude.Account(secret_key="k", rate=Rate(600, per=60))


class Props(msgspec.Struct):
    plan: str | None = None
    visits: int | None = None


class User(msgspec.Struct):
    amp_props: Props | None = None
    score: float | None = None
    cohort_ids: list[str] | None = None


def plan_of(account=ACCOUNT, **changes):
    usual = {
        "account": account,
        "request": amplitude.GetProfile,
        "id_column": "user_id",
        "into": None,
        "properties": (),
        "prefix": "",
        "quota": None,
        "client": ProfileClient,
        "patience": 600.0,
    }
    return Plan(**usual | changes)


def failed(said="gone"):
    return None, record(errors.ProfileNotFoundError(said, status=404))


# ---- columns -------------------------------------------------------------------------------------


def test_a_profile_is_a_column_of_json_and_an_error_another():
    table = pa.table({"user_id": ["a", "b"]})
    added = with_answers(table, layout_of(None, (), ""), [(b'{"user_id":"a"}', None), failed()], [0, 1])
    assert added.to_pylist() == [
        {"user_id": "a", "profile": '{"user_id":"a"}', "error": None},
        {
            "user_id": "b",
            "profile": None,
            "error": '{"type":"ProfileNotFoundError","message":"gone","status":404}',
        },
    ]


def test_a_struct_gives_columns_of_its_types_whatever_a_batch_holds():
    table, layout = pa.table({"user_id": ["a"]}), layout_of(User, (), "p_")
    full = b'{"amp_props":{"plan":"pro","visits":3},"score":0.5,"cohort_ids":["c"]}'
    some = with_answers(table, layout, [(full, None)], [0])
    none = with_answers(table, layout, [failed()], [0])
    assert some.schema == none.schema
    assert dict(zip(some.schema.names, some.schema.types, strict=True)) == {
        "user_id": pa.string(),
        "p_amp_props": pa.struct([("plan", pa.string()), ("visits", pa.int64())]),
        "p_score": pa.float64(),
        "p_cohort_ids": pa.list_(pa.string()),
        "p_error": pa.string(),
    }
    assert some["p_amp_props"].to_pylist() == [{"plan": "pro", "visits": 3}]


def test_properties_are_columns_of_text():
    table, layout = pa.table({"user_id": ["a", "b"]}), layout_of(None, ("plan", "tags"), "")
    added = with_answers(table, layout, [(b'{"plan":"pro","tags":[1]}', None), failed()], [0, 1])
    assert added["plan"].to_pylist() == ["pro", None]
    assert added["tags"].to_pylist() == ["[1]", None]
    assert added.schema.field("tags").type == pa.string()


def test_a_value_that_fits_no_column_is_an_error_of_its_row_alone():
    large = b'{"amp_props":{"visits":%d}}' % 2**70
    answers = [(b'{"score":1.5}', None), (large, None)]
    added = with_answers(pa.table({"n": [1, 2, 3]}), layout_of(User, (), ""), answers, [0, 1, 0])
    assert added["score"].to_pylist() == [1.5, None, 1.5]
    errors_of = added["error"].to_pylist()
    assert errors_of[0] is errors_of[2] is None
    assert "does not fit a column" in errors_of[1]


def test_a_column_that_is_there_already_is_not_written_over():
    with pytest.raises(errors.ConfigError, match="two columns 'error'"):
        check_free(layout_of(None, (), ""), ["user_id", "error"])
    check_free(layout_of(None, (), "new_"), ["user_id", "error"])


async def test_the_columns_are_those_of_a_job_without_ray(tmp_path):
    users = [f"user-{number}" for number in range(20)] + ["unknown-1"]
    source, output = tmp_path / "users.parquet", tmp_path / "out.parquet"
    pyarrow.parquet.write_table(pa.table({"user_id": users}), source)
    asked = {"get_amp_props": True, "get_cohort_ids": True}
    with in_thread(Simulator(amplitude_rate=FAST)) as simulator:
        account = simulator.accounts()[0]
        async with ProfileClient(account) as client:
            job = Job(source=source, request=amplitude.GetProfile, output=output, parameters=asked, into=User)
            await run(job, client)
        request = partial(amplitude.GetProfile, **asked)
        worker = Worker(pack(plan_of(account, request=request, into=User)))
        assert worker(pyarrow.parquet.read_table(source)) == pyarrow.parquet.read_table(output)


# ---- what an actor does --------------------------------------------------------------------------


@pytest.fixture
def simulator():
    with in_thread(Simulator(amplitude_rate=FAST)) as simulator:
        yield simulator


def test_a_user_who_comes_again_is_asked_for_once(simulator):
    worker = Worker(pack(plan_of(simulator.accounts()[0])))
    table = worker(pa.table({"user_id": ["a", "b", "a", "a"]}))
    found = [orjson.loads(profile)["user_id"] for profile in table["profile"].to_pylist()]
    assert found == ["a", "b", "a", "a"]
    assert simulator.stats()["amplitude"].requests == 2


@pytest.mark.parametrize(
    "cells",
    [
        pa.array([7, None], pa.int64()),
        pa.array(["7", ""]),
        pa.array(["7", None]).dictionary_encode(),
        pa.array(["7", "null"], pa.large_string()),
    ],
    ids=str,
)
def test_a_bad_id_is_an_error_of_its_row(simulator, cells):
    good, bad = Worker(pack(plan_of(simulator.accounts()[0])))(pa.table({"user_id": cells})).to_pylist()
    assert orjson.loads(good["profile"])["user_id"] == "7"
    assert good["error"] is None
    assert orjson.loads(bad["error"])["type"] == "ConfigError"
    assert simulator.stats()["amplitude"].requests == 1


@pytest.mark.parametrize("table", [pa.table({"user_id": [[1], [2]]}), pa.table({"id": ["a", "b"]})], ids=str)
def test_rows_of_which_none_has_an_id_are_errors(simulator, table):
    rows = Worker(pack(plan_of(simulator.accounts()[0])))(table).to_pylist()
    assert ["has no 'user_id'" in row["error"] for row in rows] == [True, True]


def test_a_wrong_key_is_an_error_of_each_row_and_is_not_in_it(simulator):
    account = amplitude.Account(secret_key="canary-key", base_url=simulator.amplitude_url)
    table = Worker(pack(plan_of(account)))(pa.table({"user_id": ["a"]}))
    said = table["error"].to_pylist()[0]
    assert orjson.loads(said)["type"] == "AuthError"
    assert "canary-key" not in said


def loops():
    return {thread for thread in threading.enumerate() if thread.name == "profilekit"}


def test_an_actor_that_ends_closes_its_client(simulator):
    others = loops()
    worker = Worker(pack(plan_of(simulator.accounts()[0])))
    worker(pa.table({"user_id": ["a"]}))
    (thread,) = loops() - others
    del worker
    thread.join(30)
    assert not thread.is_alive()


def test_an_actor_that_cannot_open_its_client_leaves_nothing_behind():
    others = loops()
    with pytest.raises(errors.QuotaUnavailableError):
        Worker(pack(plan_of(quota=Gone)))
    for thread in loops() - others:
        thread.join(30)
        assert not thread.is_alive()


def ask(stub, users, *, patience=600.0, quota=None, properties=(), **settings):
    async def main():
        async with ProfileClient(
            ACCOUNT, transport=stub, retry=Retry(attempts=1), quota=quota, **settings
        ) as client:
            plan = plan_of(patience=patience, properties=properties)
            return await Asking(plan, client).about(users)

    return virtual(main())


def test_a_property_that_cannot_be_a_column_is_the_error_of_its_user():
    stub = Stub(
        lambda request: response(
            body=b'{"userData": {"amp_props": {"n": %d}}}' % (2**64 if "odd" in request.target else 1)
        )
    )
    answers = ask(stub, ["u1", "odd"], properties=("n",))
    assert answers["u1"] == (b'{"n":1}', None)
    value, error = answers["odd"]
    assert (value, orjson.loads(error)["type"]) == (None, "DecodeError")


def test_rows_wait_while_the_vendor_is_down():
    down = [response(503)] * 30
    answers = ask(Stub(answering(*down, response(body=b'{"userData": {}}'))), [f"u{n}" for n in range(100)])
    # Those before it was known to be down.
    lost = [error for _, error in answers.values() if error is not None]
    assert len(answers) == 100
    assert len(lost) < Breaker().failures
    assert {orjson.loads(error)["type"] for error in lost} <= {"VendorUnavailableError"}


def test_rows_fail_when_the_vendor_is_down_for_too_long(caplog):
    stub = Stub(answering(response(503)))
    answers = ask(stub, [f"u{n}" for n in range(100)], patience=60.0)
    assert {orjson.loads(error)["type"] for _, error in answers.values()} == {"VendorUnavailableError"}
    assert len(answers) == 100
    assert stub.times[-1] - stub.times[0] >= 50
    assert [each.message for each in caplog.records].count(
        "VendorUnavailableError: rows wait up to 60 s"
    ) == 1


class Unsteady(LocalQuota):
    """A quota that is out of reach at first."""

    def __init__(self, account):
        super().__init__(account.rate)
        self.refusals = 3

    def ready(self):
        return False

    def wait(self, now, wanted):
        if self.refusals:
            self.refusals -= 1
            raise errors.QuotaUnavailableError("nobody knows")
        return super().wait(now, wanted)


class Gone(Unsteady):
    """A quota that is out of reach when it is opened."""

    async def open(self):
        raise errors.QuotaUnavailableError("nobody knows")


def test_an_answer_that_is_no_profile_shows_that_the_vendor_is_back():
    down, unknown = [response(503)] * 60, response(404, b"User id not seen before")
    answers = [*down, *[unknown] * 100, *down, unknown]
    users = [f"u{number}" for number in range(200)]
    # Each time it is away for most of the patience.
    found = ask(Stub(answering(*answers)), users, patience=300.0)
    kinds = Counter(orjson.loads(error)["type"] for _, error in found.values())
    assert kinds["VendorUnavailableError"] < 2 * Breaker().failures
    assert kinds.total() == 200


def test_rows_wait_while_the_shared_quota_is_out_of_reach():
    answers = ask(Stub(), ["a", "b"], quota=Unsteady)
    assert [error for _, error in answers.values()] == [None, None]


# ---- the account among actors --------------------------------------------------------------------


@pytest.mark.parametrize("actors", [1, 2, 7, 64, 600])
def test_actors_together_keep_to_the_account(actors):
    account = divided(plan_of(), actors).account
    assert account.rate.per == ACCOUNT.rate.per
    assert 600 - actors < account.rate.requests * actors <= 600
    assert account.max_in_flight >= 1


def test_actors_with_a_shared_quota_see_all_of_it():
    assert divided(plan_of(quota=Unsteady), 7).account.rate == ACCOUNT.rate


def test_a_quota_too_small_to_be_divided_is_refused():
    with pytest.raises(errors.ConfigError, match="600/60 cannot be divided among 601 actors"):
        divided(plan_of(), 601)


# ---- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"account": "key"}, "str is not an account"),
        ({"request": userflux.GetProfile}, "needs another account"),
        ({"request": amplitude.GetProfile("u")}, "must make a request of an id"),
        ({"request": str}, "must make a request of an id"),
        ({"request": partial(userflux.UpdateProfile, properties={"a": 1})}, "writes"),
        ({"into": User, "properties": ("plan",)}, "into or properties"),
        ({"into": 3}, "3"),
        ({"patience": 0}, "patience"),
    ],
    ids=str,
)
def test_a_plan_that_cannot_work_is_refused(changes, said):
    with pytest.raises(errors.ConfigError, match=said):
        plan_of(**changes)


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(errors.ConfigError, match=r"pip install 'profilekit\[ray\]'"):
        enrich(None, ACCOUNT)


def test_what_is_no_dataset_is_refused():
    with pytest.raises(errors.ConfigError, match="list is not a dataset"):
        enrich(["user-1"], ACCOUNT)


# ---- how a plan travels --------------------------------------------------------------------------


def test_a_parcel_shows_no_key_but_brings_it():
    parcel = pack(plan_of(amplitude.Account(secret_key="canary-key")))
    assert "canary" not in repr(parcel)
    assert parcel.open().account.secret_key == "canary-key"


def test_structs_that_no_actor_can_import_travel_with_their_fields():
    class Inner(msgspec.Struct, rename="camel"):
        first_seen: int = 3

    class Outer(msgspec.Struct, kw_only=True):
        amp_props: list[Inner] | None = None
        cohort_ids: tuple[str, ...]

    into = pack(plan_of(into=Outer)).open().into
    assert into is not Outer
    body = b'{"amp_props": [{"firstSeen": 5}, {}], "cohort_ids": ["c"]}'
    found = msgspec.json.decode(body, type=into)
    assert [inner.first_seen for inner in found.amp_props] == [5, 3]
    assert msgspec.json.encode(found) == msgspec.json.encode(msgspec.json.decode(body, type=Outer))


def test_structs_that_can_be_imported_travel_by_name():
    assert pack(plan_of(into=amplitude.Profile)).open().into is amplitude.Profile


def test_what_cannot_travel_is_refused():
    class Checked(msgspec.Struct):
        plan: str

        def __post_init__(self):
            pass

    for changes in ({"into": Checked}, {"quota": partial(LocalQuota, threading.Lock())}):
        with pytest.raises(errors.ConfigError, match="defin"):
            pack(plan_of(**changes))


# ---- a cluster -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster():
    """Start a cluster; no file that it writes may hold a key. Yields what its programs need to find it."""
    # Sockets have short names only, and Ray keeps a token in the home of whoever starts it.
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        environ = {"HOME": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
        # Else it listens on other addresses than loopback.
        environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        command = [sys.executable, "-P", HERE / "support/ray_cluster.py", f"{folder}/r"]
        with subprocess.Popen(
            command, env=os.environ | environ, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as started:
            address = started.stdout.readline().decode().strip()
            assert address.startswith("127.0.0.1:")
            yield environ | {"RAY_ADDRESS": address}
        written = [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
        assert any(b"MapBatches" in content for content in written)
        assert not any(SECRET_KEY.encode() in content for content in written)


@pytest.fixture
def started(cluster, tmp_path):
    """Start programs on the cluster, beside a Redis; they must end well, and say no key."""
    server = RedisServer(tmp_path).start()
    said = tmp_path / "said"

    @contextmanager
    def start(program, *arguments, **environ):
        with said.open("wb") as file:
            running = subprocess.Popen(
                [sys.executable, "-P", HERE / program, *map(str, arguments)],
                env=os.environ | cluster | {"REDIS_URL": server.url} | environ,
                cwd=tmp_path,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        with running:
            try:
                yield running
                assert running.wait(timeout=300) == 0, said.read_text()
            finally:
                running.terminate()
        assert SECRET_KEY not in said.read_text()

    yield start
    server.kill()


def a_list(tmp_path, rows, form):
    """Write users of whom every tenth is unknown and every hundredth has no id."""
    ids = [
        "" if number % 100 == 0 else f"unknown-{number}" if number % 10 == 0 else f"user-{number}"
        for number in range(rows)
    ]
    table = pa.table({"user_id": ids, "n": range(rows)})
    source = tmp_path / f"users.{form}"
    write = pyarrow.csv.write_csv if form == "csv" else pyarrow.parquet.write_table
    write(table, source)
    return source


def check_enriched(output, rows):
    table = pyarrow.parquet.read_table(output).sort_by("n")
    assert table["n"].to_pylist() == list(range(rows))
    props = pa.struct([("plan", pa.string()), ("onboarding_step", pa.int64())])
    assert table.schema.field("amp_props").type == props
    for row in table.to_pylist():
        kind = None if row["error"] is None else orjson.loads(row["error"])["type"]
        if row["n"] % 10:
            assert kind is None
            assert row["device_id"].startswith("device-")
            assert row["amp_props"]["plan"]
        else:
            assert kind == ("ProfileNotFoundError" if row["n"] % 100 else "ConfigError")
            assert row["device_id"] is row["amp_props"] is None


def numbers_in(folder):
    return {int(path.name) for path in folder.iterdir()}


def enriched_while_an_actor_dies(started, tmp_path, rows, rate, form):
    actors, output, source = tmp_path / "actors", tmp_path / "enriched", a_list(tmp_path, rows, form)
    actors.mkdir()
    with in_thread(Simulator(amplitude_rate=rate)) as simulator:
        with started("support/ray_job.py", source, output, actors, rate, **simulator.environ()) as program:
            while simulator.stats()["amplitude"].requests < rows / 2 and program.poll() is None:
                time.sleep(0.01)
            # It makes a request itself, to see whether that can be.
            before = numbers_in(actors) - {program.pid}
            os.kill(min(before), signal.SIGKILL)
        seen = simulator.stats()["amplitude"]
    check_enriched(output, rows)
    assert len(before) == 2
    assert len(numbers_in(actors) - {program.pid}) == 3
    # What it had under way was asked for again: at most two batches.
    assert rows * 0.99 <= seen.requests < rows + 200
    # One quota for both, not one for each; what is late on a busy machine is tested elsewhere.
    assert seen.most_in_window < 1.1 * rate.requests


@pytest.mark.slow
def test_an_actor_that_dies_is_replaced_and_no_row_is_lost_or_doubled(started, tmp_path):
    enriched_while_an_actor_dies(started, tmp_path, 2_000, Rate(1_000, per=2), "csv")
    said = (tmp_path / "said").read_text()
    assert "there is no column 'user_id'; the columns are: id" in said
    assert "there would be two columns 'error'" in said


@pytest.mark.slow
def test_an_actor_dies_half_way_through_20_000_rows(started, tmp_path):
    enriched_while_an_actor_dies(started, tmp_path, 20_000, Rate(5_000, per=5), "parquet")


def test_the_list_of_the_readme(started, tmp_path):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (HERE.parent / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    program = tmp_path / "ray_list.py"
    program.write_text(next(block for block in blocks if "ray.data" in block))
    source, output = a_list(tmp_path, 20, "parquet"), tmp_path / "enriched"
    with (
        in_thread(Simulator()) as simulator,
        started(program, source, output, **simulator.environ()),
    ):
        pass
    table = pyarrow.parquet.read_table(output).sort_by("n")
    assert table.schema.names == ["user_id", "n", "profile", "error"]
    assert orjson.loads(table["profile"][1].as_py())["user_id"] == "user-1"
