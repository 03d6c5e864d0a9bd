"""How commands end: by their work and by signals, and never by what becomes of their words."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import pytest
from lives import snapshot
from outboxes import opened, write
from streams import BROKEN, CLOSED, LEFT, broken, with_closed
from stub import Stub, response
from terminals import in_terminal

from profilekit.live.snapshot import encode

IN, OUT, ERR = 0, 1, 2


def command(*arguments):
    # -P, so that what is installed is run, and not the source beside which the tests stand.
    return [sys.executable, "-P", "-m", "profilekit", *map(str, arguments)]


@contextmanager
def running(*arguments, out=None, err=None, **options):
    """Run the command line with a standard output, or error, that is broken in that way."""
    with ExitStack() as stack:
        streams = [subprocess.PIPE if how is None else stack.enter_context(broken(how)) for how in (out, err)]
        closed = [number for number, how in ((OUT, out), (ERR, err)) if how == CLOSED]
        process = subprocess.Popen(
            with_closed(command(*arguments), *closed),
            stdout=streams[0],
            stderr=streams[1],
            text=True,
            **options,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def ended(*arguments, **options):
    """Run a command to its end; return its status, and what it wrote to the streams that are whole."""
    with running(*arguments, **options) as process:
        out, err = process.communicate()
        return process.returncode, out, err


def enriching(source, output, *options):
    return "enrich", source, "-o", output, "--vendor", "amplitude", "--rate", "5000/1", *options


def listing(tmp_path, count, *more):
    source = tmp_path / "users.txt"
    source.write_text("\n".join([*(f"u{n}" for n in range(count)), *more, ""]))
    return source


def rows_of(output):
    return [json.loads(line) for line in output.read_text().splitlines()]


def sent(simulated, vendor="amplitude"):
    return simulated.stats()[vendor].requests


def until(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()


# ---- words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize(("more", "status"), [((), 0), (("unknown",), 3)])
def test_a_list_is_done_and_its_status_right_whatever_becomes_of_its_words(
    simulated, tmp_path, how, more, status
):
    source, output = listing(tmp_path, 20, *more), tmp_path / "out.jsonl"
    # Standard output is closed, too: nothing is written there.
    assert ended(*enriching(source, output), out=CLOSED, err=how)[0] == status
    assert len(rows_of(output)) == 20 + len(more)
    assert not any(b"profilekit" in path.read_bytes() for path in tmp_path.iterdir() if path != output)


@pytest.mark.parametrize("how", BROKEN)
def test_a_signal_stops_a_job_whatever_becomes_of_its_words(simulated, tmp_path, how):
    source, output = listing(tmp_path, 5), tmp_path / "out.jsonl"
    slow = (*enriching(source, output)[:-1], "1/3600")
    with running(*slow, err=how) as process:
        until(lambda: sent(simulated), process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert sent(simulated) == 1
    assert ended(*enriching(source, output))[0] == 0
    assert (sent(simulated), len(rows_of(output))) == (5, 5)


@pytest.mark.parametrize("how", BROKEN)
def test_an_update_of_one_user_ends_by_its_work(simulated, how):
    assert ended("update", "userflux", "u1", "plan=pro", out=how, err=how)[0] == 0
    assert sent(simulated, "userflux") == 1


@pytest.mark.parametrize("how", BROKEN)
def test_an_error_has_its_status_whatever_becomes_of_its_words(simulated, how):
    assert ended("get", "amplitude", "unknown", out=how, err=how)[0] == 1
    assert ended("get", "amplitude", out=how, err=how)[0] == 2


@pytest.mark.parametrize("how", [LEFT, CLOSED])
def test_a_demo_ends_by_its_work(tmp_path, how):
    assert ended("demo", "--users", 5, "--directory", tmp_path / "demo", out=how, err=how)[0] == 0
    assert len(rows_of(tmp_path / "demo" / "amplitude.jsonl")) == 5


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("how", BROKEN)
def test_a_simulator_serves_whatever_becomes_of_its_words(how):
    port = free_port()

    def serves():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with running("simulate", "--port", port, out=how, err=how) as process:
        until(serves, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130


# ---- products ----------------------------------------------------------------------------------


@pytest.fixture
def outbox(tmp_path):
    """An outbox with a dead letter."""

    async def main():
        async with opened(tmp_path / "writes.db", Stub(lambda _: response(400, b"no"))) as outbox:
            await outbox.put(write("u1", n=1))
            await outbox.drained()

    asyncio.run(main())
    return tmp_path / "writes.db"


@pytest.fixture
def product(request, simulated, tmp_path):
    """A command whose output is all that it is for."""
    stats = tmp_path / "a.stats"
    stats.write_bytes(encode(snapshot(has_ended=True)))
    return {
        "get": ("get", "amplitude", "u1"),
        "top": ("top", "--once", stats),
        "top as JSON": ("top", "--json", stats),
        "dry run": enriching(listing(tmp_path, 3), tmp_path / "out.jsonl", "--dry-run"),
        "outbox": ("outbox", "status", request.getfixturevalue("outbox")),
        "letters": ("outbox", "list", request.getfixturevalue("outbox")),
    }[request.param]


PRODUCTS = [
    *("get", "top", "dry run", "outbox"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("top as JSON", "letters")),
]


@pytest.mark.parametrize("product", PRODUCTS, indirect=True)
def test_a_product_that_cannot_be_written_is_an_error_unless_its_reader_left(product):
    assert ended(*product, out="full") == (
        1,
        None,
        "profilekit: standard output: No space left on device\n",
    )
    assert ended(*product, out="closed") == (1, None, "profilekit: standard output: Bad file descriptor\n")
    assert ended(*product, out=LEFT) == (0, None, "")


def test_what_was_done_counts_and_not_that_it_is_said(outbox):
    assert ended("outbox", "drop", outbox, "--all", out="full")[0] == 0
    assert json.loads(ended("outbox", "status", outbox)[1])["dead"] == 0


# ---- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_waits_for_its_quota_ends_on_one_signal(simulated, tmp_path, number):
    source, output = listing(tmp_path, 100), tmp_path / "out.jsonl"
    with running(*enriching(source, output)[:-1], "1/3600") as process:
        until(lambda: sent(simulated), process)
        process.send_signal(number)
        assert process.wait() == 130
        _, err = process.communicate()
    assert "Finishing what is under way" in err
    assert f"What is done is kept in {output}.journal: the same command carries on." in err
    assert sent(simulated) == 1


def test_nohup_keeps_a_job_at_work(simulated, tmp_path):
    source, output = listing(tmp_path, 3), tmp_path / "out.jsonl"
    nohup = ["nohup", *command(*enriching(source, output)[:-1])]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*nohup, "1/1"], **pipes) as process:
        until(lambda: sent(simulated), process)
        process.send_signal(signal.SIGHUP)
        process.communicate()
        assert process.returncode == 0
    assert len(rows_of(output)) == 3


def test_a_job_ends_with_its_terminal(simulated, tmp_path):
    source, output = listing(tmp_path, 100), tmp_path / "out.jsonl"
    with in_terminal(*enriching(source, output)[:-1], "1/3600") as terminal:
        until(lambda: sent(simulated), terminal.process)
        terminal.hang_up()
        assert terminal.process.wait() == 130
    assert ended(*enriching(source, output))[0] == 0
    assert sent(simulated) == 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait_for_a_list(simulated, tmp_path, number, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with running(*enriching("-", tmp_path / "out.jsonl"), stdin=subprocess.PIPE) as process:
        # The copy is made once the job listens to signals.
        until(lambda: any(tmp_path.iterdir()), process)
        process.send_signal(number)
        assert process.wait() == 130
        assert process.stderr.read() == "profilekit: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_the_writing_of_an_output(simulated, tmp_path):
    source, output = tmp_path / "users.csv", tmp_path / "out.jsonl.gz"
    # Rows without an id need no request, and fail.
    source.write_text("user_id,n\n" + ",1\n" * 60_000)
    with running(*enriching(source, output)) as process:
        until(lambda: any(tmp_path.glob(".out.jsonl.gz.*.part")), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 130
        assert "the same command carries on" in process.stderr.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl.gz.journal", "users.csv"]


def test_a_process_that_is_held_up_ends_all_the_same():
    held = """
import asyncio, os, signal, time
from profilekit.cli import interruption

interruption._LONGEST_END = 0.1

async def main(signals):
    signals.lead_to(lambda: None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

with interruption.Interruption() as signals:
    asyncio.run(main(signals))
"""
    done = subprocess.run([sys.executable, "-P", "-c", held], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize("how", [None, *BROKEN])
def test_ctrl_c_during_the_imports_ends_it_with_a_line(tmp_path, how):
    # In place of the real one, and so in the middle of the imports.
    (tmp_path / "click.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\n")
    status, _, err = ended("--version", err=how, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (status, err) == (130, "profilekit: interrupted\n" if how is None else None)


# ---- options -----------------------------------------------------------------------------------


def test_standard_input_that_is_closed_is_refused(simulated, tmp_path):
    arguments = with_closed(command(*enriching("-", tmp_path / "out.jsonl")), IN)
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "profilekit: standard input is closed: name a file, or pipe the list in\n",
    )


def test_an_output_has_the_mode_of_the_option(cli, simulated, tmp_path):
    source, output = listing(tmp_path, 3, "unknown"), tmp_path / "out.jsonl"
    for options, mode in (((), 0o600), (("--mode", "640"), 0o640), (("--mode", "0604"), 0o604)):
        assert cli(*enriching(source, output, *options))[0] == 3
        assert output.stat().st_mode & 0o777 == mode
        assert output.with_name("out.jsonl.journal").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", ["648", "rw", "1644", "-1", ""])
def test_a_mode_that_is_none_is_refused(cli, simulated, tmp_path, mode):
    source = listing(tmp_path, 1)
    status, _, err = cli(*enriching(source, tmp_path / "out.jsonl", f"--mode={mode}"))
    assert status == 2
    assert "is not three octal digits: give permissions such as 640" in err
    assert list(tmp_path.iterdir()) == [source]
