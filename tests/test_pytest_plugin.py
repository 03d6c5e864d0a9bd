"""The fixtures that come with the package, in a test run of somebody else."""

TESTS = """
import json
import urllib.request

import pytest

from profilekit import Rate
from profilekit.simulator import Simulator

def stats(simulator):
    with urllib.request.urlopen(simulator.amplitude_url + "/_simulator/stats") as answer:
        return json.load(answer)

def test_without_a_loop_of_its_own(profilekit_simulator):
    assert stats(profilekit_simulator)["amplitude"]["requests"] == 0

async def test_with_one(profilekit_simulator):
    from profilekit import ProfileClient, amplitude
    async with ProfileClient(*profilekit_simulator.accounts()) as client:
        assert (await client.send(amplitude.GetProfile("u"))).user_id == "u"
    assert profilekit_simulator.stats()["amplitude"].statuses == {"200": 1}

class TestSetUpOtherwise:
    @pytest.fixture
    def profilekit_simulator_setup(self):
        return Simulator(amplitude_rate=Rate(7, per=1), unknown=1.0)

    async def test_override(self, profilekit_simulator):
        from profilekit import ProfileClient, amplitude, errors
        account, _ = profilekit_simulator.accounts()
        assert account.rate == Rate(7, per=1)
        async with ProfileClient(account) as client:
            with pytest.raises(errors.ProfileNotFoundError):
                await client.send(amplitude.GetProfile("u"))
"""


INI = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def test_the_fixtures_work_wherever_the_package_is_installed(pytester):
    pytester.makepyfile(TESTS)
    pytester.makeini(INI)
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=3)


def test_the_plugin_loads_nothing_until_it_is_used(pytester):
    pytester.makepyfile(
        "import sys\ndef test_light(): assert 'profilekit.simulator.server' not in sys.modules"
    )
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)
