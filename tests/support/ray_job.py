"""A job over Ray: a file of users into a folder of Parquet. Each actor leaves a file of its number behind."""

import os
import sys
from functools import partial
from pathlib import Path

import msgspec
import pyarrow as pa
import ray.data

from profilekit import Rate, amplitude
from profilekit.errors import ConfigError
from profilekit.ray import enrich
from profilekit.shared import RedisQuota

source, output, actors, rate = sys.argv[1:]


class Props(msgspec.Struct):
    """What the job wants of a user."""

    plan: str | None = None
    onboarding_step: int | None = None


class User(msgspec.Struct):
    """As it is defined here, no actor can import it."""

    amp_props: Props | None = None
    device_id: str | None = None


def ask(folder, user_id):
    """Return the request of a user."""
    (Path(folder) / str(os.getpid())).touch()
    return amplitude.GetProfile(user_id, get_amp_props=True)


account = amplitude.Account(
    secret_key=os.environ["AMPLITUDE_SECRET_KEY"],
    base_url=os.environ["AMPLITUDE_BASE_URL"],
    rate=Rate.parse(rate),
)
for columns in ({"id": ["a"]}, {"user_id": ["a"], "error": [1]}):
    try:
        enrich(ray.data.from_arrow(pa.table(columns)), account)
    except ConfigError as refused:
        print(refused)

read = ray.data.read_csv if source.endswith(".csv") else ray.data.read_parquet
users = enrich(
    read(source),
    account,
    partial(ask, actors),
    quota=RedisQuota(os.environ["REDIS_URL"], name="a-job"),
    into=User,
    concurrency=2,
    batch_size=100,
)
users.write_parquet(output)
