import pytest

from profilekit import Rate
from profilekit.simulator import Simulator


@pytest.fixture
def profilekit_simulator_setup():
    return Simulator(amplitude_rate=Rate(5000, per=1), userflux_rate=Rate(5000, per=1))


@pytest.fixture
def simulated(profilekit_simulator, monkeypatch):
    """Lead the environment's accounts to a simulator."""
    for name, value in profilekit_simulator.environ().items():
        monkeypatch.setenv(name, value)
    return profilekit_simulator
