"""A Ray cluster of two CPUs: says its address, keeps its files in a folder, lives as long as its input."""

import sys

import ray

cluster = ray.init(
    num_cpus=2,
    object_store_memory=100 * 1024 * 1024,
    include_dashboard=False,
    log_to_driver=False,
    _temp_dir=sys.argv[1],
)
print(cluster.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
