"""Live stats that are damaged or forged: shown within bounds, or named in one line."""

import io
import json
import os
import random
import socket
import unicodedata
from itertools import product
from pathlib import Path

import msgspec
import pytest
from lives import NOW, job, outbox, snapshot
from rich.console import Console

from profilekit.cli.frame import Frame
from profilekit.live.snapshot import encode
from profilekit.live.sources import Seen, Source

GOOD = snapshot(outboxes=[outbox()], jobs=[job()])
PROBLEMS = {
    "it holds no stats of profilekit",
    "it was written by another version of profilekit, probably a newer one",
}
# As JSON: what no number, name, list or object of stats should be trusted to be.
FORGED = [
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "-1",
        "-0.0",
        "5e-324",
        "1e308",
        "1e400",
        "9" * 400,
        "0." + "0" * 400 + "1",
    ),
    *(
        "9007199254740992",
        "9007199254740993",
        "2147483647",
        "2147483648",
        "1e12",
        "1.5",
        "0",
        "1",
        "true",
        "null",
    ),
    *(
        '""',
        '"x"',
        '"\\u001b]0;owned\\u0007"',
        '"\\u202e\\u009b31m"',
        '"\\ud800"',
        '"[red]:x:"',
        f'"{"x" * 201}"',
    ),
    *(
        "[]",
        "{}",
        "[1]",
        '{"a": 1}',
        '{"a": {"0": 1}}',
        '{"amplitude": {"500": 9007199254740992}}',
        "[" * 5_000,
        "x",
    ),
]


def places_in(value, place=()):
    """Return the place of each value within a value."""
    found = [place]
    for key, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        found += places_in(inner, (*place, key))
    return found


def forged(value, place, text):
    """Return a value as JSON, with a text in the place of one within it."""
    if not place:
        return text
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    inner = {
        key: forged(part, place[1:], text) if key == place[0] else json.dumps(part) for key, part in parts
    }
    if isinstance(value, list):
        return f"[{', '.join(inner.values())}]"
    return f"{{{', '.join(f'{json.dumps(key)}: {part}' for key, part in inner.items())}}}"


def check(path, content):
    """Read stats, and draw what there is; return whether they were taken for stats."""
    path.write_bytes(content)
    seen = Source(str(path)).read()
    assert seen.problem in {None, *PROBLEMS} or "no news for" in seen.problem or "has ended" in seen.problem
    assert (seen.snapshot is None) == (seen.problem in PROBLEMS)
    for width in (1, 80) if seen.snapshot else (80,):
        console = Console(file=io.StringIO(), width=width, force_terminal=False)
        console.print(Frame([seen, Seen("b.stats", GOOD, None)], now=NOW))
        lines = console.file.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert not any(unicodedata.category(sign) in {"Cc", "Cf"} for line in lines for sign in line)
        if width == 80:
            assert not any(word in line for line in lines for word in (" nan", " inf/", " inf%"))
            assert any(line.startswith("all jobs") for line in lines) == bool(
                seen.snapshot and seen.snapshot.jobs
            )
    return seen.snapshot is not None


@pytest.mark.parametrize("some", [400, pytest.param(None, marks=pytest.mark.slow)])
def test_every_field_of_another_kind_is_refused_or_drawn_within_bounds(tmp_path, some):
    value = msgspec.to_builtins(GOOD, str_keys=True)
    places = [place for place in places_in(value) if "minute" not in place or place[-1] in {"minute", 0}]
    pairs = list(product(places, FORGED))
    pairs = pairs if some is None else random.Random(1).sample(pairs, some)
    taken = [check(tmp_path / "a", forged(value, place, text).encode()) for place, text in pairs]
    assert len(taken) / 20 < sum(taken) < len(taken) / 2


def damaged(content, draw):
    at, length = draw.randrange(len(content)), draw.randrange(1, 40)
    return draw.choice(
        [
            content[:at],
            content[:at] + content[at + length :],
            content[:at] + draw.randbytes(length) + content[at + length :],
            bytes([*content[:at], content[at] ^ 1 << draw.randrange(8), *content[at + 1 :]]),
            content[:at] + content[at : at + length] * 2 + content[at + length :],
            content[at:] + content[:at],
        ]
    )


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_damaged_stats_are_refused_or_drawn_within_bounds(tmp_path, seed):
    draw, content = random.Random(seed), encode(GOOD)
    taken = [check(tmp_path / "a", damaged(content, draw)) for _ in range(400)]
    assert 0 < sum(taken) < len(taken)


def open_files():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_what_is_no_file_is_named_and_leaves_nothing_open(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other, socket.socket(socket.AF_UNIX) as deaf:
        other.bind(str(tmp_path / "datagrams"))
        deaf.bind(str(tmp_path / "deaf"))
        before = open_files()
        for name, problem in (
            ("folder", "it is no file and no socket"),
            ("pipe", "it is no file and no socket"),
            ("device", "it is no file and no socket"),
            ("loop", "Too many levels of symbolic links"),
            ("datagrams", "Protocol wrong type for socket"),
            ("deaf", "nobody serves it: the process has ended"),
        ):
            assert Source(str(tmp_path / name)).read() == Seen(str(tmp_path / name), None, problem)
        assert open_files() == before


def test_top_names_each_in_a_line_and_ends_with_1(cli, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good").write_bytes(encode(snapshot(has_ended=True)))
    status, out, err = cli("top", "--once", *(tmp_path / name for name in ("folder", "pipe", "good")))
    assert (status, err) == (1, "")
    assert out.count("it is no file and no socket") == 2
    assert "sent 12,345" in out
