"""The event loops that tests run on: asyncio's own and uvloop, and loops like them with a virtual clock."""

import asyncio
import inspect
import signal
from pathlib import Path
from zlib import crc32

import clock
import pytest
import uvloop

from profilekit.cli import run

pytest_plugins = ["pytester"]

# Where a shell starts the tests in the background, SIGINT is ignored, also by each process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.Loop}
VIRTUAL_LOOPS = {"asyncio": clock.VirtualLoop, "uvloop": clock.VirtualUvloop}

# Modules and folders whose tests run on both kinds of loop.
ON_BOTH = {
    "engine",
    "outbox",
    "shared",
    "test_cancellation",
    "test_client",
    "test_deadlines",
    "test_faults",
    "test_fewer_requests",
    "test_hostile",
    "test_outage",
    "test_pauses",
    "test_turns",
}

# Of these, which take long, a test runs on one of the two by default, and on the other with the slow tests.
ON_EITHER = {
    "outbox",
    "shared",
    "test_cancellation",
    "test_deadlines",
    "test_faults",
    "test_hostile",
    "test_outage",
    "test_priority",
    "test_quota_properties",
}

# Run once: what these test is done by processes of their own, on asyncio, or is all in a file's bytes.
ON_ONE = {"test_forged", "test_kill", "test_processes"}


def is_of(path, names):
    path = path.relative_to(Path(__file__).parent)
    parts = {path.parts[0], path.stem}
    return parts.isdisjoint(ON_ONE) and not names.isdisjoint(parts)


def pytest_asyncio_loop_factories(config, item):
    return LOOPS if is_of(item.path, ON_BOTH) else {"asyncio": LOOPS["asyncio"]}


@pytest.fixture(scope="module")
def virtual_loop(request):
    """Have ``virtual`` run on one kind of loop."""
    before, clock.current = clock.current, request.param
    yield
    clock.current = before


def pytest_generate_tests(metafunc):
    uses_virtual = hasattr(metafunc.module, "virtual") and not inspect.iscoroutinefunction(metafunc.function)
    if uses_virtual and is_of(metafunc.definition.path, ON_BOTH):
        metafunc.fixturenames.append("virtual_loop")
        loops = VIRTUAL_LOOPS
        metafunc.parametrize("virtual_loop", loops.values(), ids=loops, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        loops = LOOPS.keys() & set(item.callspec.id.split("-")) if hasattr(item, "callspec") else set()
        if loops and is_of(item.path, ON_EITHER):
            first = sorted(LOOPS)[crc32(item.nodeid.replace("uvloop", "asyncio").encode()) % 2]
            if first not in loops:
                item.add_marker("slow")


@pytest.fixture
def cli(capfd, monkeypatch):
    """Run a command line; return its status, what it wrote, and what it complained of."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        capfd.readouterr()
        status = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return call
