"""Lists on the command line: real files, real processes, real ends."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading

import pytest

WINDOW = 64
# A request under way when the process ends, and one through that was not taken yet.
LOST_BY_A_KILL = 2 * WINDOW


def command(*arguments):
    # -P, so that what is installed is run, and not the source beside which the tests stand.
    return [sys.executable, "-P", "-m", "profilekit", *map(str, arguments)]


def users(tmp_path, count):
    source = tmp_path / "users.csv"
    source.write_text("user_id,n\n" + "".join(f"u{n},{n}\n" for n in range(count)))
    return source


def enriching(source, output, *options):
    return command("enrich", source, "-o", output, "--vendor", "amplitude", "--rate", "5000/1", *options)


def rows_of(output):
    return [json.loads(line) for line in output.read_text().splitlines()]


def whole(output, count):
    rows = rows_of(output)
    assert [row["user_id"] for row in rows] == [f"u{n}" for n in range(count)]
    assert all(row["profile"]["user_id"] == row["user_id"] for row in rows)


def done_of(journal):
    return journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0


def killed_at(arguments, journal, lines, *, with_signal=signal.SIGKILL, cwd=None):
    """Start a process, wait until its journal holds so many lines, and end it."""
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=cwd)
    while process.poll() is None and done_of(journal) < lines:
        pass
    process.send_signal(with_signal)
    _, err = process.communicate()
    return process.returncode, err


def test_pandas_takes_no_part_in_a_list_wherever_it_is_installed(simulated, tmp_path):
    source, output = users(tmp_path, 3), tmp_path / "out.parquet"
    (tmp_path / "modules" / "pandas").mkdir(parents=True)
    (tmp_path / "modules" / "pandas" / "__init__.py").write_text("raise SystemExit('pandas was imported')")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "modules")}
    done = subprocess.run(enriching(source, output), env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, output.exists()) == (0, True), done.stderr


# ---- killed ------------------------------------------------------------------------------------


def survives(simulated, tmp_path, count, kills, seed):
    source, output = users(tmp_path, count), tmp_path / "out.jsonl"
    journal, draw = tmp_path / "out.jsonl.journal", random.Random(seed)
    killed = 0
    for _ in range(kills):
        target = done_of(journal) + draw.randrange(2 * count // kills)
        status, _ = killed_at(enriching(source, output), journal, min(target, count - 1))
        killed += status == -signal.SIGKILL
        assert not output.exists() or status == 0
    subprocess.run(enriching(source, output), check=True, capture_output=True)
    whole(output, count)
    assert killed > kills // 3
    sent = simulated.stats()["amplitude"].requests
    assert count <= sent <= count + killed * LOST_BY_A_KILL
    assert not journal.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "users.csv"]


def test_a_killed_job_goes_on_and_nothing_is_lost_or_doubled(simulated, tmp_path):
    survives(simulated, tmp_path, count=3_000, kills=5, seed=1)


@pytest.mark.slow
def test_a_job_that_is_killed_again_and_again(simulated, tmp_path):
    survives(simulated, tmp_path, count=20_000, kills=60, seed=2)


# ---- interrupted -------------------------------------------------------------------------------


def test_ctrl_c_once_finishes_what_is_under_way_and_says_how_to_go_on(simulated, tmp_path):
    source, output = users(tmp_path, 3_000), tmp_path / "out.jsonl"
    journal = tmp_path / "out.jsonl.journal"
    status, err = killed_at(enriching(source, output), journal, 200, with_signal=signal.SIGINT)
    assert status == 130, err
    assert f"What is done is kept in {journal}: the same command carries on." in err
    assert "Traceback" not in err
    assert simulated.stats()["amplitude"].requests == done_of(journal) < 3_000
    subprocess.run(enriching(source, output), check=True, capture_output=True)
    whole(output, 3_000)
    assert simulated.stats()["amplitude"].requests == 3_000


def test_ctrl_c_twice_ends_it_now(cli, monkeypatch, tmp_path):
    # A vendor that takes the request and says nothing.
    import socket

    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv("AMPLITUDE_SECRET_KEY", "k")
    monkeypatch.setenv("AMPLITUDE_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
    source, output = users(tmp_path, 10), tmp_path / "out.jsonl"
    process = subprocess.Popen(enriching(source, output), stderr=subprocess.PIPE, text=True)
    accepted, _ = silent.accept()
    assert accepted.recv(10)
    process.send_signal(signal.SIGINT)
    said = process.stderr.readline() + process.stderr.readline()
    assert "Finishing what is under way; Ctrl-C again ends it now." in said
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "profilekit: interrupted"
    assert "the same command carries on" in err
    accepted.close()
    silent.close()


def test_ctrl_c_ends_a_wait_for_standard_input(simulated, tmp_path):
    process = subprocess.Popen(
        enriching("-", tmp_path / "out.jsonl"), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # More than a pipe holds, so that most of it was read when this returns.
    process.stdin.write("user_id\n" + "u1\n" * 100_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    process.stdin.close()
    assert process.stderr.read().splitlines()[-1] == "profilekit: interrupted"
    process.stderr.close()


# ---- full --------------------------------------------------------------------------------------


def test_a_full_disk_ends_it_with_a_line_and_the_same_command_goes_on(simulated, tmp_path):
    source, output = users(tmp_path, 2_000), tmp_path / "out.jsonl"

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    # Coverage could not write its file, either.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    failed = subprocess.run(
        enriching(source, output), preexec_fn=small, env=environ, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert failed.stderr.splitlines()[-1] == f"profilekit: {output}.journal: File too large"
    assert "the same command carries on" in failed.stderr
    done = done_of(tmp_path / "out.jsonl.journal")
    assert 0 < done < 2_000
    subprocess.run(enriching(source, output), check=True, capture_output=True)
    whole(output, 2_000)
    assert simulated.stats()["amplitude"].requests <= 2_000 + LOST_BY_A_KILL


# ---- options -----------------------------------------------------------------------------------


def test_a_dry_run_says_what_it_would_do_and_sends_nothing(cli, simulated, tmp_path):
    source = users(tmp_path, 1_200)
    output = tmp_path / "out.jsonl"
    status, out, err = cli("enrich", source, "-o", output, "--vendor", "amplitude", "--dry-run")
    assert (status, err) == (0, "")
    assert "1200 rows, 0 of them bad: 1200 requests of amplitude.GetProfile" in out
    assert "at 600 in 60 s that takes 2:00" in out
    assert list(tmp_path.iterdir()) == [source]
    assert simulated.stats()["amplitude"].requests == 0


def test_failures_are_kept_and_retried(cli, simulated, tmp_path):
    source, output = tmp_path / "users.txt", tmp_path / "out.jsonl"
    source.write_text("u1\nunknown\nu2\n")
    enrich = ("enrich", source, "-o", output, "--vendor", "amplitude")
    status, _, err = cli(*enrich)
    assert status == 3
    assert f"The failures are kept in {output}.journal: --retry-failed sends them again." in err
    before = simulated.stats()["amplitude"].requests
    status, _, _ = cli(*enrich, "--retry-failed")
    assert status == 3
    assert simulated.stats()["amplitude"].requests == before + 1


def test_a_row_gives_parameters_and_properties_become_columns(cli, simulated, tmp_path):
    source, output = tmp_path / "users.csv", tmp_path / "out.csv"
    source.write_text("user_id,rec\nu1,r1\n")
    status, _, err = cli(
        *("enrich", source, "-o", output, "--vendor", "amplitude", "--get-recs", "--get-amp-props"),
        *("--column", "rec-id=rec", "--property", "plan", "--property", "recommendations"),
    )
    assert status == 0, err
    header, row = output.read_text().splitlines()
    assert header == "user_id,rec,plan,recommendations,error"
    assert '""rec_id"":""r1""' in row


def test_formulas_are_escaped_in_a_csv_and_refused_before_anything_is_sent_elsewhere(
    cli, simulated, tmp_path
):
    source = tmp_path / "users.csv"
    source.write_text("user_id,note\nu1,=1+1\nu2,-1\n")
    enrich = ("enrich", source, "--vendor", "amplitude", "--property", "plan", "--escape-formulas", "-o")
    status, _, err = cli(*enrich, tmp_path / "out.csv")
    assert status == 0, err
    assert [line.split(",")[1] for line in (tmp_path / "out.csv").read_text().splitlines()] == [
        "note",
        "'=1+1",
        "-1",
    ]
    sent = simulated.stats()["amplitude"].requests
    status, _, err = cli(*enrich, tmp_path / "out.jsonl")
    assert (status, err.count("\n")) == (2, 1)
    assert f"--escape-formulas needs a CSV output, got {tmp_path / 'out.jsonl'}" in err
    _, _, err = cli("update", source, "--vendor", "userflux", "--escape-formulas")
    assert "--escape-formulas needs a CSV output, got none" in err
    assert simulated.stats()["amplitude"].requests == sent


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--column", "rec_id"), "it is not FIELD=COLUMN"),
        (("--column", "rex=rec"), "has no 'rex'"),
        (("--column", "rec_id=a", "--column", "rec-id=b"), "a field is given twice"),
        (("--column", "rec_id=rec"), "no column 'rec'; the columns are: user_id, n"),
        (("--property", "n"), "two columns 'n'"),
        (("--retry-failed",), "no failures to retry"),
        (("--retry-failed", "--fresh"), "not both"),
    ],
)
def test_options_that_cannot_be_used_are_refused(cli, simulated, tmp_path, arguments, message):
    source = users(tmp_path, 1)
    status, _, err = cli("enrich", source, "-o", tmp_path / "o.csv", "--vendor", "amplitude", *arguments)
    assert status == 2
    assert message in err
    assert list(tmp_path.iterdir()) == [source]


# ---- update ------------------------------------------------------------------------------------


def test_a_list_is_written_and_typed_from_the_file(cli, simulated, tmp_path):
    source = tmp_path / "users.csv"
    source.write_text("user_id,plan,visits,zip\nu1,pro,3,01\nu2,,4,99\n")
    status, out, err = cli("update", source, "--vendor", "userflux", "--id-column", "user_id")
    assert (status, out) == (0, ""), err
    assert "2 rows" in err
    _, out, _ = cli("get", "userflux", "u1")
    properties = json.loads(out)["properties"]
    assert (properties["plan"], properties["visits"], properties["zip"]) == ("pro", 3, "01")
    assert list(tmp_path.iterdir()) == [source]


def test_options_may_stand_before_the_list(cli, simulated, tmp_path):
    source = users(tmp_path, 3)
    status, out, _ = cli("update", "--vendor", "userflux", source, "--dry-run")
    assert status == 0
    assert "3 requests of userflux.UpdateProfile" in out
    status, out, _ = cli("update", "--help")
    assert "INPUT --vendor userflux" in out
    status, out, _ = cli("update", "INPUT", "--help")
    assert "Every column but the id's is a property" in out


def test_a_killed_update_goes_on(simulated, tmp_path):
    source = users(tmp_path, 2_000)
    update = command("update", source, "--vendor", "userflux", "--rate", "5000/1")
    journal = tmp_path / "users.csv.journal"
    killed = sum(killed_at(update, journal, lines)[0] == -signal.SIGKILL for lines in (300, 900, 1500))
    subprocess.run(update, check=True, capture_output=True)
    assert 2_000 <= simulated.stats()["userflux"].requests <= 2_000 + killed * LOST_BY_A_KILL
    assert killed >= 2
    assert not journal.exists()


def test_standard_input_can_be_given_again(simulated, tmp_path):
    source, output = users(tmp_path, 500), tmp_path / "out.jsonl"
    arguments = enriching("-", output)
    for _ in range(2):
        # The second finds a job at its end, and does it anew.
        with source.open() as file:
            subprocess.run(arguments, stdin=file, check=True, capture_output=True)
    whole(output, 500)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(source.read_text(),))
    writer.start()
    subprocess.run(enriching(pipe, output), check=True, capture_output=True)
    writer.join()
    assert simulated.stats()["amplitude"].requests == 1_500
