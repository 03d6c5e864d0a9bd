"""Fixtures for the tests of whoever uses profilekit; pytest finds them by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from profilekit.simulator import Simulator

# Imports are put off: pytest loads this module in every run, whether or not a test uses it.


@pytest.fixture
def profilekit_simulator_setup() -> Simulator:
    """Return the simulator that ``profilekit_simulator`` starts; override it to set one up otherwise."""
    from profilekit.simulator import Simulator  # noqa: PLC0415

    return Simulator()


@pytest.fixture
def profilekit_simulator(profilekit_simulator_setup: Simulator) -> Iterator[Simulator]:
    """Run both vendors on a loopback port, in a thread of its own, for one test."""
    from profilekit.simulator.thread import in_thread  # noqa: PLC0415

    with in_thread(profilekit_simulator_setup) as simulator:
        yield simulator
