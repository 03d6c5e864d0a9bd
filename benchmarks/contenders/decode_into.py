"""profilekit: into a Struct of the caller's own that names two fields."""

import msgspec

from benchmarks.contenders import decode_profilekit


class Cohorts(msgspec.Struct, gc=False):
    user_id: str | None = None
    cohort_ids: tuple[str, ...] | None = None


class Into(decode_profilekit.Typed):
    label = "profilekit, into ids and cohorts"
    into = Cohorts


make = Into
