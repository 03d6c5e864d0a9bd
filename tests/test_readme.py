"""Every block of the README runs as it stands."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from profilekit import ProfileClient, Rate
from profilekit.simulator import Simulator

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
CONSOLE = [text for language, text in BLOCKS if language == "console"]


@pytest.fixture
def profilekit_simulator_setup():
    return Simulator(amplitude_rate=Rate(600, per=1))


@pytest.fixture
def environ(profilekit_simulator):
    binaries = str(Path(sys.executable).parent)
    return {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "COLUMNS": "120",
        **profilekit_simulator.environ(),
    }


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {language for language, _ in BLOCKS} == {"python", "console"}
    assert len(README.splitlines()) < 150


def test_the_first_block_sets_everything_up_and_ci_runs_just_that():
    first = [line.removeprefix("$ ") for line in CONSOLE[0].splitlines()]
    assert first == ["pip install '.[cli]' && profilekit demo", "pip install -e '.[dev]' && pytest"]
    script = (ROOT / ".ci" / "run").read_text()
    assert "grep '^\\$ ' README.md" in script


def test_every_program_is_run_somewhere():
    """tests/test_services.py starts the service, tests/test_ray.py the list over Ray."""
    marks = ("asyncio.run", "FastAPI(", "profilekit_simulator", "ray.data")
    kinds = [next(mark for mark in marks if mark in code) for code in PYTHON]
    assert sorted(kinds) == sorted(marks)


def test_every_link_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("code", [code for code in PYTHON if "asyncio.run" in code])
def test_programs(code, environ, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if "stream" in code:
        assert len([line for line in done.stdout.splitlines() if line.startswith("user-")]) == 20
        assert "failed" not in done.stdout


def test_the_fixture(pytester):
    (code,) = [code for code in PYTHON if "profilekit_simulator" in code]
    pytester.makepyfile(code)
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n")
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_the_vendor_is_a_vendor():
    code = (ROOT / "tests" / "examples" / "acme.py").read_text()
    names = {}
    exec(code, names)
    account = names["AcmeAccount"](token="t")
    assert repr(ProfileClient(account)) == "<ProfileClient acme (new)>"
    assert names["GetPerson"]("x").endpoint.path == "/people/{person}"


def test_commands(environ, tmp_path, profilekit_simulator):
    commands = [line.removeprefix("$ ") for line in CONSOLE[1].splitlines()]
    assert len(commands) == 6
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{shlex.quote(command)}: {done.stderr}"
    assert len((tmp_path / "enriched.jsonl").read_text().splitlines()) == 2
    assert profilekit_simulator.stats()["userflux"].statuses == {"200": 1, "204": 1}
