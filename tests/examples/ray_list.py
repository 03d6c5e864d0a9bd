"""A list of users over Ray: from Parquet to Parquet, by two actors."""

import os
from functools import partial

import ray

from profilekit import amplitude
from profilekit.ray import enrich

account = amplitude.Account.from_env(os.environ)
request = partial(amplitude.GetProfile, get_amp_props=True)
users = ray.data.read_parquet("users.parquet")
enriched = enrich(users, account, request, id_column="user_id", concurrency=2)
enriched.write_parquet("enriched")
