"""A list of users over Ray, by two actors that share the quota: ray_list.py users.parquet enriched"""

import os
import sys
from functools import partial

import ray

from profilekit import amplitude
from profilekit.ray import enrich
from profilekit.shared import RedisQuota

source, output = sys.argv[1:]
account = amplitude.Account.from_env(os.environ)
quota = RedisQuota(os.environ["REDIS_URL"], name="my-organisation")
request = partial(amplitude.GetProfile, get_amp_props=True)
users = enrich(ray.data.read_parquet(source), account, request, "user_id", quota=quota, concurrency=2)
users.write_parquet(output)
