"""A Ray Data dataset through actors, each with a client of its own, all within one quota."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from profilekit.bulk.rows import no_column
from profilekit.checks import check_count
from profilekit.client import ProfileClient
from profilekit.engine.quota import QuotaFactory
from profilekit.errors import ConfigError
from profilekit.ray.columns import check_free, layout_of
from profilekit.ray.parcel import pack
from profilekit.ray.plan import Ask, Plan, divided
from profilekit.ray.worker import Worker
from profilekit.request import Account
from profilekit.vendors import amplitude

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["enrich"]

# One batch is asked for while the answers of the other are put into columns.
_BATCHES_AT_ONCE = 2


def enrich(
    dataset: "Dataset",
    account: Account,
    request: Ask = amplitude.GetProfile,
    id_column: str = "user_id",
    *,
    quota: QuotaFactory | None = None,
    into: Any = None,
    properties: Sequence[str] = (),
    prefix: str = "",
    concurrency: int = 1,
    batch_size: int = 500,
    num_cpus: float = 0.25,
    patience: float = 600.0,
    client: Callable[..., ProfileClient] = ProfileClient,
) -> "Dataset":
    """Add profiles to the rows of a Ray Data dataset, or why there are none.

    The columns are those of ``profilekit enrich``: ``profile``, the whole of it as JSON, or the fields of
    ``into``, or ``properties``; and ``error``, which is null or JSON with ``type``, ``message`` and, if
    the vendor answered, ``status``. No row fails the job: not one with a bad id, nor a key that the vendor
    refuses. An actor that dies is replaced, and the batches that it had are done again: no row is lost or
    doubled, but some users are asked for twice. Otherwise, whoever comes again in a batch is asked for once.

    Like all that Ray Data does, this begins when rows are wanted, and again each time they are: write
    the result, or ``materialize()`` it, once.

    Args:
        dataset: Rows with a column of ids, text or whole numbers; from anywhere.
        account: The vendor's account. Its keys travel to the actors, and into no log.
        request: Makes the request of an id: ``amplitude.GetProfile``, or
            ``functools.partial(amplitude.GetProfile, get_amp_props=True)``.
        id_column: The column that holds the id.
        quota: The quota that all actors share, exactly, whatever becomes of them: a ``RedisQuota``.
            Without one, each of them has a fixed part of the account's, and those that have nothing to do
            leave theirs unused. One that is replaced does not know what the one before has sent last.
        into: A Struct of the caller's own to decode profiles into; each of its fields is a column of its
            Arrow type. The types of columns are then the same in every batch, whatever it holds.
        properties: Properties of profiles to be columns, of text, in place of the whole profile.
        prefix: What the added columns begin with.
        concurrency: How many actors. They divide the account's ``max_in_flight``, too. One can use up
            any quota below some thousands of requests a second.
        batch_size: How many rows an actor asks for at a time, twice over. It loses no more when it dies.
        num_cpus: What Ray reserves for an actor. Mostly it waits for the vendor.
        patience: For how many seconds rows wait for a vendor that is down, or a shared quota that is
            out of reach, before they fail.
        client: Makes the client of an actor, told the account and ``quota=``:
            ``functools.partial(ProfileClient, proxy="http://...")``.

    Returns:
        The dataset with the columns added. Its rows are in the order that Ray Data gives them.

    Raises:
        ConfigError: When an argument cannot be used; nothing was sent.
    """
    try:
        plan = Plan(
            account=account,
            request=request,
            id_column=id_column,
            into=into,
            properties=tuple(properties),
            prefix=prefix,
            quota=quota,
            client=client,
            patience=patience,
        )
    finally:
        # Trackers show the variables of every frame, and it may hold the password of a proxy.
        del client
    ray = _ray()
    if not isinstance(dataset, ray.data.Dataset):
        raise ConfigError(f"enrich: {type(dataset).__name__} is not a dataset of Ray Data")
    check_count("enrich: batch_size", batch_size)
    _check_columns(dataset, plan)
    # What is done again replaces what was lost only if a task has no more than one batch.
    enriched: Dataset = dataset.repartition(target_num_rows_per_block=batch_size).map_batches(
        Worker,
        fn_constructor_args=[pack(divided(plan, concurrency))],
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=_actors(ray, concurrency),
        num_cpus=num_cpus,
        udf_modifying_row_count=False,
    )
    return enriched


def _ray() -> Any:
    try:
        import ray.data  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("Ray needs an extra: pip install 'profilekit[ray]'") from None
    return ray


def _actors(ray: Any, count: int) -> Any:
    return ray.data.ActorPoolStrategy(
        size=count, max_concurrent_calls_per_actor=_BATCHES_AT_ONCE, enable_true_multi_threading=True
    )


def _check_columns(dataset: "Dataset", plan: Plan) -> None:
    """Refuse columns that cannot work, where they are known without reading anything."""
    layout = layout_of(plan.into, plan.properties, plan.prefix)
    schema = dataset.schema(fetch_if_missing=False)
    if schema is not None and plan.id_column not in schema.names:
        raise no_column(plan.id_column, schema.names)
    check_free(layout, () if schema is None else schema.names)
