"""The live view: what it draws, and what it does in a terminal and without one."""

import io
import json
import os
import signal
import subprocess
import sys

import pytest
from live_child import READS, WRITES
from lives import NOW, account, at_work, job, outbox, snapshot
from rich.console import Console
from terminals import in_terminal

from profilekit.cli.frame import Frame
from profilekit.live.snapshot import encode
from profilekit.live.sources import Seen

ENTER, LEAVE, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


def drawn(*seen, now=NOW, width=80, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, **options)
    console.print(Frame(seen, now=now))
    return console.file.getvalue()


def seen(path="a.stats", problem=None, **fields):
    return Seen(path, snapshot(**fields), problem)


def top(*arguments, env=None):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "profilekit", "top", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "80", **(env or {})},
    )
    assert "Traceback" not in done.stderr
    return done


# ---- what is drawn ---------------------------------------------------------------------------------


def test_a_frame_shows_every_figure_of_an_account():
    assert drawn(seen()).splitlines() == [
        "a.stats  process 4242 on elsewhere, 1:01:01",
        "",
        "amplitude  600 in 60 s, local  DirectTransport",
        f"  {'█' * 16}{'░' * 4}  80%  8 of 10/s  {'█' * 30}",
        "  queue 64  in flight 12  p50 45 ms  p99 226 ms  breaker closed",
        "  sent 12,345  ok 12,300  failed 35  retries 9  cached 17  coalesced 5  fenced 2",
        "  31 ProfileNotFoundError, 4 ThrottledError",
    ]


def test_a_frame_shows_outboxes_and_jobs():
    text = drawn(seen(accounts=[], outboxes=[outbox(held="AuthError")], jobs=[job()]))
    assert text.splitlines()[1:] == [
        "",
        "outbox writes.db",
        "  pending 21  oldest 1:12  in flight 3  delivered 900  dead letters 6",
        "  held: AuthError",
        "",
        "job amplitude.GetProfile  sending",
        f"  {'█' * 5}{'░' * 15}  25%  2,500 of 10,000  10/s, 12:30 left  {'█' * 15}",
        "  3 InvalidRequestError",
    ]


def test_a_breaker_that_is_open_a_part_of_a_quota_and_a_lost_one_are_said():
    text = drawn(seen(accounts=[account(breaker="open", share=0.5, quota="alone: TimeoutError")]))
    assert "600 in 60 s, alone: TimeoutError, 50% of it" in text
    assert "breaker OPEN: taken to be down" in text
    assert "160%  8 of 5/s" in text


def test_several_processes_are_shown_with_their_sums():
    text = drawn(
        seen("a.stats", jobs=[job()], outboxes=[outbox()]),
        seen("b.stats", jobs=[job(done=7_500)], outboxes=[outbox(oldest=5.0)]),
    )
    assert "2 x 600 in 60 s, local" in text
    assert "80%  16 of 20/s" in text
    assert "queue 128  in flight 24" in text
    assert "sent 24,690" in text
    assert "  a.stats  8/s  queue 64  in flight 12  p99 226 ms\n  b.stats  8/s" in text
    assert "all jobs\n  ██████████░░░░░░░░░░  50%  10,000 of 20,000  20/s, 8:20 left" in text
    assert "all outboxes\n  pending 42  oldest 1:12  in flight 6  delivered 1,800  dead letters 12" in text


def test_a_process_that_is_gone_shows_what_it_had_done_and_what_is_wrong():
    gone = "no news for 12 s: the process has ended or hangs"
    text = drawn(seen(problem=gone, jobs=[job()]), now=NOW + 12)
    assert text.startswith(f"a.stats  {gone}  process 4242 on")
    assert "amplitude  closed" in text
    assert "sent 12,345" in text
    assert "job amplitude.GetProfile  stopped" in text
    assert "█ " not in text.partition("job")[0]


def test_the_end_is_shown_as_an_end():
    text = drawn(seen(has_ended=True, accounts=[], jobs=[job(done=10_000)]), now=NOW + 75)
    assert "ended 1:15 ago" in text
    assert "job amplitude.GetProfile  done" in text
    assert "100%  10,000 of 10,000" in text


def test_a_sparkline_shows_how_it_changed():
    rising = account(minute=[0, 1, 2, 3, 4, 5, 6, 7])
    assert "▁▂▃▄▅▆▇█" in drawn(seen(accounts=[rising]))
    late = drawn(seen(accounts=[account(minute=[0] * 59 + [9])]))
    assert "▁▁▁█\n" in late


def test_nothing_that_is_read_drives_the_terminal_or_is_taken_for_markup():
    bad = "\x1b]0;owned\x07\x9b31m\u202e[red]x[/red]\n\r"
    fields = {"vendor": bad, "transport": bad, "quota": bad, "failed": {bad: 1}, "breaker": bad}
    latencies = {bad: {0: 1}}
    text = drawn(
        Seen(bad, snapshot(host=bad, accounts=[account(**fields)], latencies=latencies), bad),
        seen(outboxes=[outbox(name=bad, held=bad)], jobs=[job(name=bad, phase=bad, failed={bad: 2})]),
        width=200,
    )
    assert not set(text) & set("\x1b\x07\x9b\u202e\r")
    assert text.count(r"\x1b]0;owned\x07\x9b31m\u202e[red]x[/red]\n\r") >= 9


@pytest.mark.parametrize("width", [1, 5, 20, 40, 79])
def test_a_narrow_terminal_cuts_lines_and_breaks_none(width):
    both = (seen(jobs=[job()], outboxes=[outbox()]), Seen("b", None, "not there yet: waiting"))
    narrow, wide = drawn(*both, width=width), drawn(*both, width=80)
    assert narrow.count("\n") == wide.count("\n")
    assert max(map(len, narrow.splitlines())) <= width


def test_whatever_is_largest_can_be_drawn():
    huge = 2**53
    fields = {"requests": 1, "per": 1e12, "share": 1.0, "minute": [huge] * 60, "sent": huge, "queue": huge}
    text = drawn(
        seen(accounts=[account(**fields)], jobs=[job(total=huge, minute=[0] * 59 + [1])], began=1e12),
        seen("b.stats", accounts=[account(share=0.0, per=1e-300)], outboxes=[outbox(oldest=1e12)]),
    )
    assert f"sent {huge + 12_345:,}" in text


def test_a_terminal_without_blocks_gets_plain_signs():
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=out, width=80, force_terminal=False).print(Frame([seen(path="é.stats")], now=NOW))
    out.flush()
    text = out.buffer.getvalue().decode("ascii")
    assert f"{'#' * 16}{'.' * 4}  80%" in text
    assert text.startswith("?.stats")


# ---- once ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.stats", pytest.param("a.sock", marks=pytest.mark.slow)])
def test_a_service_at_work_is_shown_once_as_plain_text_and_when_it_is_killed_that_is_said(name, tmp_path):
    path = tmp_path / name
    with at_work(path) as child:
        done = top("--once", path, env={"COLUMNS": "200"})
        assert (done.returncode, done.stderr) == (0, "")
        assert f"sent {READS}  ok {READS}  failed 0" in done.stdout
        assert f"delivered {WRITES}  dead letters 0" in done.stdout
        assert "canary" not in done.stdout
        assert done.stdout.replace("\n", "").isprintable()
        told = json.loads(top("--json", path).stdout)
        assert [each["sent"] for each in told["accounts"]] == [READS, WRITES]
        child.send_signal(signal.SIGKILL)
        child.wait()
        done = top("--once", path, env={"COLUMNS": "200"})
    assert done.returncode == 1
    assert "has ended" in done.stdout.splitlines()[0]


def test_a_pattern_means_all_that_are_there(tmp_path):
    for pid in (1, 2, 3):
        (tmp_path / f"{pid}.stats").write_bytes(encode(snapshot(pid=pid, has_ended=True)))
    done = top("--once", tmp_path / "*.stats", tmp_path / "1.stats", env={"COLUMNS": "200"})
    assert done.returncode == 0
    assert [line.split()[2] for line in done.stdout.splitlines()[:3]] == ["1", "2", "3"]
    assert "sent 37,035" in done.stdout


def test_what_cannot_be_shown_is_said_and_shows_in_the_status(cli, tmp_path):
    (tmp_path / "good").write_bytes(encode(snapshot(has_ended=True)))
    (tmp_path / "bad").write_bytes(b"\x1b[31m")
    status, out, _ = cli("top", "--once", tmp_path / "good", tmp_path / "bad", tmp_path / "none")
    assert status == 1
    assert f"{str(tmp_path / 'bad')[-29:]}  it holds no stats of profilekit" in out
    assert f"{str(tmp_path / 'none')[-29:]}  not there yet: waiting" in out
    assert "sent 12,345" in out
    status, out, err = cli("top", "--json", tmp_path / "good", tmp_path / "none")
    assert (status, json.loads(out)["pid"]) == (1, 4242)
    assert "not there yet" in err


def test_json_is_ascii_whatever_is_in_it(cli, tmp_path):
    bad = "\x1b\x7f\x9b\u202eé"
    (tmp_path / "a").write_bytes(encode(snapshot(host=bad, has_ended=True)))
    _, out, _ = cli("top", "--json", tmp_path / "a")
    assert out.isascii()
    assert out.rstrip("\n").isprintable()
    assert json.loads(out)["host"] == bad


def test_without_a_terminal_it_is_shown_once(cli, tmp_path):
    (tmp_path / "a").write_bytes(encode(snapshot(has_ended=True)))
    status, out, _ = cli("top", tmp_path / "a")
    assert status == 0
    assert "sent 12,345" in out


def test_there_must_be_a_path(cli):
    status, _, err = cli("top")
    assert status == 2
    assert "PATH" in err


# ---- in a terminal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["ctrl-c", "term"])
def test_top_shows_what_comes_until_it_is_ended_and_gives_the_terminal_back(end, tmp_path):
    path = tmp_path / "a.stats"
    with in_terminal("top", path) as terminal:
        terminal.until("not there yet: waiting")
        path.write_bytes(encode(snapshot(has_ended=True)))
        terminal.until("sent 12,345")
        path.write_bytes(encode(snapshot(has_ended=True, accounts=[account(sent=99_999)])))
        terminal.until("sent 99,999")
        if end == "ctrl-c":
            terminal.press(b"\x03")
        else:
            terminal.process.send_signal(signal.SIGTERM)
        assert terminal.ended() == 0
        assert terminal.is_as_before
    first, _, after = terminal.drawn.rpartition(LEAVE)
    assert ENTER in first
    assert SHOW_CURSOR in first[-20:] + after
    assert "profilekit:" not in terminal.text
    assert "Traceback" not in terminal.text


def test_top_shows_a_service_in_80_columns(tmp_path):
    path = tmp_path / "a.sock"
    with at_work(path), in_terminal("top", path) as terminal:
        terminal.until(f"delivered {WRITES}  dead letters 0")
        terminal.press(b"\x03")
        assert terminal.ended() == 0


def listing(tmp_path, count):
    source = tmp_path / "users.csv"
    source.write_text("user_id,plan\n" + "".join(f"canary-{number},pro\n" for number in range(count)))
    return source


def test_enrich_live_shows_the_same_inside(simulated, tmp_path):
    source, output = listing(tmp_path, 600), tmp_path / "out.jsonl"
    arguments = ("enrich", source, "-o", output, "--vendor", "amplitude", "--rate", "300/1", "--live")
    with in_terminal(*arguments) as terminal:
        terminal.until("300 in 1 s, local")
        terminal.until("of 600")
        assert terminal.ended() == 0
    assert "job amplitude.GetProfile  done" in terminal.text
    assert "100%  600 of 600" in terminal.text
    assert "600 rows in" in terminal.text
    assert "canary" not in terminal.text
    assert len(output.read_text().splitlines()) == 600


def test_ctrl_c_ends_enrich_live_as_it_does_without(simulated, tmp_path):
    source, output = listing(tmp_path, 3_000), tmp_path / "out.jsonl"
    arguments = ("enrich", source, "-o", output, "--vendor", "amplitude", "--rate", "200/1", "--live")
    with in_terminal(*arguments) as terminal:
        terminal.until("sending")
        terminal.press(b"\x03")
        terminal.until("Finishing what is under way; Ctrl-C again ends it now.")
        assert terminal.ended() == 130
        assert terminal.is_as_before
    assert "the same command carries on" in terminal.text.replace("\n", "")
    assert SHOW_CURSOR in terminal.drawn
    assert 0 < simulated.stats()["amplitude"].requests < 3_000


def test_update_live_too(simulated, tmp_path):
    with in_terminal("update", listing(tmp_path, 50), "--vendor", "userflux", "--live") as terminal:
        assert terminal.ended() == 0
    assert "job userflux.UpdateProfile  done" in terminal.text
    assert "100%  50 of 50" in terminal.text


def test_without_a_terminal_a_live_job_says_what_any_other_says(simulated, tmp_path):
    output = tmp_path / "out.jsonl"
    options = ["-o", output, "--vendor", "amplitude", "--rate", "500/1", "--live"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "profilekit", "enrich", listing(tmp_path, 50), *options],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "amplitude: 50 of 50, 0 failed\n" in done.stderr
    assert "\x1b" not in done.stderr
