"""Runs a program beside a Ray cluster of its own: two CPUs, loopback, its files in a given folder."""

import runpy
import sys

import ray

folder, program, *arguments = sys.argv[1:]
ray.init(
    num_cpus=2,
    object_store_memory=100 * 1024 * 1024,
    include_dashboard=False,
    _node_ip_address="127.0.0.1",
    _temp_dir=folder,
)
try:
    sys.argv = [program, *arguments]
    runpy.run_path(program, run_name="__main__")
finally:
    ray.shutdown()
