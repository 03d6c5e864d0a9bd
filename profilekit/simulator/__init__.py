"""Both vendors on a loopback port: for users without a key, for demos and for tests.

What the vendors document, the simulator does: both forms of Amplitude's auth, both shapes of its answers,
the documented texts of errors, the quota over a sliding window, UserFlux writes that a later read shows.
"""

from profilekit.simulator.amplitude import Shape
from profilekit.simulator.desk import DeskStats
from profilekit.simulator.server import Simulator

__all__ = ["DeskStats", "Shape", "Simulator"]
