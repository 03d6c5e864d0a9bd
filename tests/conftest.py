"""The event loops that tests run on: asyncio's own and uvloop, and loops like them with a virtual clock."""

import asyncio
import inspect

import clock
import pytest
import uvloop

pytest_plugins = ["pytester"]


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.Loop}


@pytest.fixture(scope="module")
def virtual_loop(request):
    """Have ``virtual`` run on one kind of loop."""
    before, clock.current = clock.current, request.param
    yield
    clock.current = before


def pytest_generate_tests(metafunc):
    """Run tests with a virtual clock on each kind of loop."""
    if hasattr(metafunc.module, "virtual") and not inspect.iscoroutinefunction(metafunc.function):
        metafunc.fixturenames.append("virtual_loop")
        metafunc.parametrize(
            "virtual_loop", clock.LOOPS, ids=["asyncio", "uvloop"], indirect=True, scope="module"
        )
