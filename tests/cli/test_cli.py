"""The command line, against a simulator on a real socket."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import types
import urllib.request

import pytest
from stub import Stub

from profilekit import ProfileClient, amplitude, userflux
from profilekit.cli import profiles, show
from profilekit.rate import Rate


def one_line(err):
    assert err.startswith("profilekit: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


# ---- get ---------------------------------------------------------------------------------------


def test_get_amplitude_asks_for_the_usual(cli, simulated):
    status, out, err = cli("get", "amplitude", "user-1")
    profile = json.loads(out)
    assert (status, err) == (0, "")
    assert profile["user_id"] == "user-1"
    assert {"plan", "t14bqib"} <= profile["amp_props"].keys()
    assert "cohort_ids" in profile
    assert "recommendations" not in profile


def test_get_amplitude_takes_every_parameter(cli, simulated):
    options = [
        "--get-recs",
        "--rec-id",
        "r1",
        "--rec-id",
        "r2",
        "--rec-type",
        "random",
        "--limit",
        "2",
        "--device-id",
        "d",
        "--comp-id",
        "7",
    ]
    more = [
        "--get-propensity",
        "--prediction-id",
        "p",
        "--propensity-type",
        "pct",
        "--get-amp-props",
        "--get-cohort-ids",
    ]
    status, out, _ = cli("get", "amplitude", "user-1", *options, *more, "--get-computations")
    profile = json.loads(out)
    assert status == 0
    assert profile["device_id"] == "d"
    assert [rec["rec_id"] for rec in profile["recommendations"]] == ["r1", "r2"]
    assert {len(rec["items"]) for rec in profile["recommendations"]} == {2}
    assert profile["propensities"][0]["prop_type"] == "pct"
    assert profile["amp_props"]["7"].isdecimal()


def test_get_amplitude_by_device(cli, simulated):
    status, out, _ = cli("get", "amplitude", "--device-id", "d-1")
    assert status == 0
    assert json.loads(out)["device_id"] == "d-1"


def test_every_field_of_a_request_is_an_option_with_help(cli):
    _, out, _ = cli("get", "amplitude", "--help")
    for name in amplitude.GetProfile.__struct_fields__:
        if name != "user_id":
            (line,) = [line for line in out.splitlines() if f"--{name.replace('_', '-')} " in line + " "]
            assert len(line.split()) > 2, line
    _, out, _ = cli("update", "userflux", "--help")
    for name in set(userflux.UpdateProfile.__struct_fields__) - {"user_id", "properties"}:
        assert f"--{name.replace('_', '-')}" in out


def test_get_userflux(cli, simulated):
    status, out, _ = cli("get", "userflux", "a/b é")
    profile = json.loads(out)
    assert (status, profile["id"]) == (0, "a/b é")
    assert "computedProperties" in profile


def test_get_nobody(cli, simulated):
    status, out, err = cli("get", "amplitude", "unknown")
    assert (status, out) == (1, "")
    assert "ProfileNotFoundError: amplitude.GetProfile: the vendor answered 404" in one_line(err)


# ---- update ------------------------------------------------------------------------------------


def test_update_understands_json(cli, simulated):
    pairs = [
        "plan=pro",
        "visits=3",
        'tags=["a", "b"]',
        "trial=false",
        "gone=null",
        "note=a=b",
        "version=1.2.3",
        "empty=",
    ]
    status, out, err = cli("update", "userflux", "user-1", *pairs)
    assert (status, out, err) == (0, "", "")
    _, out, _ = cli("get", "userflux", "user-1")
    properties = json.loads(out)["properties"]
    assert (properties["plan"], properties["visits"], properties["tags"]) == ("pro", 3, ["a", "b"])
    assert (properties["trial"], properties["gone"], properties["note"]) == (False, None, "a=b")
    assert (properties["version"], properties["empty"]) == ("1.2.3", "")


def test_a_value_nested_too_deep_for_json_is_text(cli, simulated):
    value = "[" * 100_000
    assert cli("update", "userflux", "user-1", f"a={value}") == (0, "", "")
    assert json.loads(cli("get", "userflux", "user-1")[1])["properties"]["a"] == value


def test_update_with_everything(cli, simulated):
    options = [
        "--anonymous-id",
        "a1",
        "--external-id",
        "e1",
        "--device-data",
        '{"os": "iOS"}',
        "--location-enrichment",
    ]
    assert cli("update", "userflux", "user-1", "a=1", *options)[0] == 0
    profile = json.loads(cli("get", "userflux", "user-1")[1])
    assert "a1" in profile["anonymousIds"]
    assert profile["deviceData"] == {"os": "iOS"}
    assert profile["locationData"]["ip"] == "127.0.0.1"


def test_update_somebody_anonymous(cli, simulated):
    assert cli("update", "userflux", "-", "a=1", "--anonymous-id", "a1")[0] == 0
    assert simulated.stats()["userflux"].statuses == {"204": 1}


# ---- what a person gets wrong ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["get", "amplitude"], "give user_id or device_id"),
        (["get", "amplitude", " "], "user_id is blank"),
        (["get", "amplitude", "u", "--limit", "0"], "limit: Expected `int` >= 1"),
        (["get", "amplitude", "u", "--limit", "x"], "'x' is not a valid integer"),
        (["get", "amplitude", "u", "--propensity-type", "x"], "'x' is not one of"),
        (["get", "userflux"], "Missing argument 'USER_ID'"),
        (["get", "userflux", ".."], "would name another path"),
        (["update", "userflux", "u", "plan"], "'plan' is not KEY=VALUE"),
        (["update", "userflux", "u", "=x"], "'=x' is not KEY=VALUE"),
        (["update", "userflux", "-", "a=1"], "give user_id or anonymous_id"),
        (["update", "userflux", "u", "--device-data", "[1]"], "it is not a JSON object"),
        (["enrich", "missing.csv", "-o", "out.csv", "--vendor", "amplitude"], "cannot read missing.csv"),
        (["enrich", "missing.csv", "-o", "out.csv"], "Missing option '--vendor'"),
        (
            ["enrich", "x", "-o", "out.csv", "--vendor", "userflux", "--get-recs"],
            "--get-recs is for Amplitude",
        ),
        (
            ["enrich", "x", "-o", "o.csv", "--vendor", "amplitude", "--limit", "0"],
            "limit: Expected `int` >= 1",
        ),
        (["enrich", "x", "-o", "o.csv", "--vendor", "amplitude", "--rate", "fast"], "'fast' is not a rate"),
        (["simulate", "--latency", "-1"], "latency is in seconds"),
        (["simulate", "--port", "99999"], "99999 is not in the range"),
        (["demo", "--users", "0"], "0 is not in the range"),
    ],
)
def test_usage_errors_are_one_line_and_status_2(cli, simulated, arguments, message):
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert message in one_line(err)
    assert simulated.stats()["amplitude"].requests == simulated.stats()["userflux"].requests == 0


def test_nothing_asked_is_answered_with_help(cli):
    for arguments in ([], ["get"], ["update"]):
        status, out, err = cli(*arguments)
        assert (status, err) == (2, "")
        assert out.count("\n") > 5


def test_a_write_only_key_is_an_error_of_the_command(cli, simulated, monkeypatch, tmp_path):
    monkeypatch.delenv("USERFLUX_READ_KEY")
    (tmp_path / "in.txt").write_text("u1\n")
    status, _, err = cli("enrich", tmp_path / "in.txt", "-o", tmp_path / "out.csv", "--vendor", "userflux")
    assert status == 2
    assert "read + write key" in one_line(err)
    assert not (tmp_path / "out.csv").exists()


def test_several_values_may_be_given_as_the_vendor_writes_them(cli, simulated):
    _, out, _ = cli("get", "amplitude", "u", "--get-recs", "--rec-id", "r1,r2", "--rec-id", "r3")
    assert [rec["rec_id"] for rec in json.loads(out)["recommendations"]] == ["r1", "r2", "r3"]


def test_a_number_beyond_64_bits_is_refused_and_not_changed(cli, simulated):
    status, _, err = cli("update", "userflux", "u", "big=123456789012345678901234")
    assert status == 2
    assert "64-bit" in one_line(err)


def test_a_profile_prints_whatever_the_terminal_can_show(simulated, tmp_path):
    command = [sys.executable, "-m", "profilekit", "get", "userflux", "日本"]
    environ = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["id"] == "日本"


@pytest.mark.parametrize("vendor", ["amplitude", "userflux"])
def test_a_missing_key_says_which(cli, monkeypatch, vendor):
    for name in list(os.environ):
        if name.startswith(("AMPLITUDE_", "USERFLUX_")):
            monkeypatch.delenv(name)
    status, _, err = cli("get", vendor, "u")
    assert status == 2
    assert f"no key for {vendor}: set {vendor.upper()}_" in one_line(err)


def test_a_key_stays_out_of_messages(cli, simulated, monkeypatch):
    monkeypatch.setenv("AMPLITUDE_SECRET_KEY", "canary-key-123")
    status, out, err = cli("get", "amplitude", "u")
    assert status == 1
    assert "AuthError" in one_line(err)
    assert "canary" not in out + err


def test_ctrl_c_is_no_traceback(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(profiles, "account_of", interrupted)
    status, _, err = cli("get", "userflux", "u")
    assert status == 130
    # The terminal shows ^C first.
    assert err == "\nprofilekit: interrupted\n"


def test_help_and_version(cli):
    status, out, _ = cli("--help")
    assert status == 0
    assert {"demo", "enrich", "get", "simulate", "update"} <= set(out.split())
    status, out, _ = cli("--version")
    assert (status, out.split()[0]) == (0, "profilekit,")


# ---- enrich ------------------------------------------------------------------------------------


def test_enrich_a_csv_into_jsonl(cli, simulated, tmp_path):
    source, output = tmp_path / "users.csv", tmp_path / "out.jsonl"
    source.write_text("user_id,team\nu1,red\nu2,blue\nu1,green\n")
    status, out, err = cli(
        "enrich", source, "-o", output, "--vendor", "amplitude", "--get-recs", "--get-amp-props"
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert (status, out) == (0, "")
    assert [(row["user_id"], row["team"], row["error"]) for row in rows] == [
        ("u1", "red", None),
        ("u2", "blue", None),
        ("u1", "green", None),
    ]
    assert all(row["profile"]["recommendations"] and row["profile"]["amp_props"] for row in rows)
    assert "cohort_ids" not in rows[0]["profile"]
    assert simulated.stats()["amplitude"].requests == 2
    assert "amplitude: 2 of 2, 0 failed" in err
    assert "3 rows in" in err


def test_enrich_says_with_status_3_that_some_failed(cli, simulated, tmp_path):
    source, output = tmp_path / "users.txt", tmp_path / "out.csv"
    source.write_text("u1\nunknown\n \nu2\n")
    status, _, err = cli("enrich", source, "-o", output, "--vendor", "userflux")
    assert status == 3
    text = output.read_text()
    assert text.splitlines()[0] == "user_id,profile,error"
    assert "ProfileNotFoundError: userflux.GetProfile: the vendor answered 404" in text
    assert "1 ProfileNotFoundError" in err


def test_enrich_from_standard_input_with_another_column(cli, simulated, tmp_path, monkeypatch):
    output = tmp_path / "out.jsonl"
    monkeypatch.setattr(
        sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(b'{"who": 7, "x": 1}\n{"who": "b"}\n'))
    )
    status, _, _ = cli(
        "enrich", "-", "-o", output, "--vendor", "userflux", "--id-column", "who", "--prefix", "uf_"
    )
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert status == 0
    assert [row["uf_profile"]["id"] for row in rows] == ["7", "b"]


def test_enrich_from_a_pipe(cli, simulated, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("user_id,n\nu1,1\nu2,2\n",))
    writer.start()
    status, _, err = cli("enrich", pipe, "-o", tmp_path / "out.jsonl", "--vendor", "userflux")
    writer.join()
    assert status == 0, err
    assert [json.loads(line)["n"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["1", "2"]


def test_enrich_keeps_to_the_rate_it_is_given(cli, simulated, tmp_path):
    source, output = tmp_path / "users.txt", tmp_path / "out.jsonl"
    source.write_text("\n".join(f"u{number}" for number in range(40)))
    status, _, err = cli("enrich", source, "-o", output, "--vendor", "amplitude", "--rate", "20/1")
    assert status == 0
    assert "of 20/s" in err
    assert simulated.stats()["amplitude"].most_in_window <= 40


def test_enrich_refuses_a_list_without_the_column_before_anything_is_sent(cli, simulated, tmp_path):
    source = tmp_path / "users.csv"
    source.write_text("id\nu1\n")
    status, _, err = cli("enrich", source, "-o", tmp_path / "out.csv", "--vendor", "amplitude")
    assert status == 2
    assert "no column 'user_id'; the columns are: id" in one_line(err)
    assert list(tmp_path.iterdir()) == [source]
    assert simulated.stats()["amplitude"].requests == 0


async def test_a_terminal_gets_bars(monkeypatch):
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(show, "stderr", lambda: Console(file=screen, force_terminal=True, width=120))
    async with ProfileClient(amplitude.Account(secret_key="k"), transport=Stub()) as client:
        watch = show.Watched("a list", "amplitude", Rate(10, per=1), client)
        async with show.watched(watch):
            watch.progress.begin(1, 3)
            watch.note()
            watch.progress.done = 3
            watch.progress.failed["AuthError"] += 1
    assert "3/3" in screen.getvalue()
    assert "of 10/s, 1 AuthError, 0:00 left" in screen.getvalue()


def test_durations_are_told_as_people_do():
    assert [show.duration(seconds) for seconds in (0, 59.6, 3600, 100_000)] == [
        "0:00",
        "1:00",
        "1:00:00",
        "27:46:40",
    ]


# ---- demo and simulate, as processes -----------------------------------------------------------


def test_demo_overwrites_nothing(cli, tmp_path):
    (tmp_path / "users.csv").write_text("mine")
    status, _, err = cli("demo", "--directory", tmp_path)
    assert status == 2
    assert "is not empty" in one_line(err)


def test_demo(cli, tmp_path):
    status, out, err = cli("demo", "--users", "60", "--directory", tmp_path / "demo")
    assert status == 0, out + err
    amplitude_rows = [
        json.loads(line) for line in (tmp_path / "demo" / "amplitude.jsonl").read_text().splitlines()
    ]
    assert len(amplitude_rows) == 60
    assert len((tmp_path / "demo" / "userflux.jsonl").read_text().splitlines()) == 60
    assert "and throttled 0" in out
    assert "20 show the update" in out
    for name in ("users.csv", "amplitude.jsonl", "userflux.jsonl"):
        assert str(tmp_path / "demo" / name) in out


def test_simulate_serves_until_it_is_stopped(tmp_path):
    command = [
        sys.executable,
        "-m",
        "profilekit",
        "simulate",
        "--port",
        "0",
        "--userflux-port",
        "0",
        "--rate",
        "5/60",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        try:
            exports = dict(
                process.stdout.readline().removeprefix("export ").strip().split("=", 1) for _ in range(5)
            )
            url = exports["AMPLITUDE_BASE_URL"]
            assert url != exports["USERFLUX_BASE_URL"]
            key = {"Authorization": f"Api-Key {exports['AMPLITUDE_SECRET_KEY']}"}
            asked = urllib.request.Request(f"{url}/v1/userprofile?user_id=u", headers=key)
            with urllib.request.urlopen(asked) as answer:
                assert json.load(answer)["userData"]["user_id"] == "u"
            with urllib.request.urlopen(f"{url}/_simulator/stats") as answer:
                assert json.load(answer)["amplitude"]["admitted"] == 1
        finally:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    # The terminal shows ^C first.
    assert err == "\nprofilekit: interrupted\n"


def test_simulate_says_that_a_port_is_taken(cli, profilekit_simulator):
    port = profilekit_simulator.amplitude_url.rpartition(":")[2]
    status, _, err = cli("simulate", "--port", port)
    assert status == 2
    assert "cannot listen on 127.0.0.1" in one_line(err)


def test_without_its_extra_the_command_says_how_to_get_it(tmp_path):
    code = "import sys; sys.modules['click'] = None; from profilekit.__main__ import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "pip install 'profilekit[cli]'" in one_line(done.stderr)
