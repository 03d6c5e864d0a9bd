"""The event loops that tests run on: asyncio's own and uvloop, and their like with a virtual clock."""

import asyncio

import clock
import pytest
import uvloop

pytest_plugins = ["pytester"]


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.Loop}


@pytest.fixture(params=clock.LOOPS, ids=["asyncio", "uvloop"])
def virtual_loops(request, monkeypatch):
    """Have ``virtual`` run on each kind of loop."""
    monkeypatch.setattr(clock, "current", request.param)
