"""Batches of answers come and go without a page fault each."""

import subprocess
import sys

FAULTS = """
import resource
from profilekit.engine.heap import keep_pages

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def batch():
    return [b"x" * 13_000 for _ in range(64)]

keep_pages()
batch()
before = faults()
for _ in range(200):
    batch()
print((faults() - before) / 200 / 64)
"""


def test_what_a_batch_leaves_behind_serves_the_next():
    done = subprocess.run([sys.executable, "-P", "-c", FAULTS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.05
