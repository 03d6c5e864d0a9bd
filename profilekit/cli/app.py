"""The commands. Each reads its arguments, calls the library, and says what came of it."""

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
import orjson

from profilekit.bulk import enrich as enrich_rows
from profilekit.bulk import open_sink, open_table
from profilekit.cli.demo import run_demo
from profilekit.cli.options import given, json_value, request_options
from profilekit.cli.show import Tally, stderr, summary, tracked
from profilekit.client import ProfileClient
from profilekit.errors import ConfigError, ProfileKitError
from profilekit.rate import Rate
from profilekit.request import Account, Request
from profilekit.simulator import Shape, Simulator
from profilekit.vendors import amplitude, userflux

__all__ = ["run"]

_SOME_FAILED = 3
_USAGE = 2
_FAILED = 1
_INTERRUPTED = 130

# What a profile is asked for where the command line does not say: all but recommendations.
_USUAL: dict[str, Any] = {"get_amp_props": True, "get_cohort_ids": True, "get_computations": True}


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status: no traceback for what a person got wrong."""
    try:
        status = cli.main(list(arguments), prog_name="profilekit", standalone_mode=False)
    except click.ClickException as error:
        return _complain(error.format_message(), _USAGE)
    except ConfigError as error:
        return _complain(str(error), _USAGE)
    except ProfileKitError as error:
        return _complain(f"{type(error).__name__}: {error}", _FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", _INTERRUPTED)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"profilekit: {' '.join(message.split())}\n")
    return status


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="profilekit")
def cli() -> None:
    """User profiles from Amplitude and UserFlux.

    Keys come from the environment: AMPLITUDE_SECRET_KEY, AMPLITUDE_API_KEY, USERFLUX_READ_KEY,
    USERFLUX_WRITE_KEY; AMPLITUDE_BASE_URL and USERFLUX_BASE_URL lead elsewhere, to a simulator for
    example.
    """


# ---- one profile -------------------------------------------------------------------------------


@cli.group()
def get() -> None:
    """Get one profile, as JSON."""


@get.command("amplitude")
@click.argument("user_id", required=False)
@request_options(amplitude.GetProfile, skip={"user_id"})
def get_amplitude(user_id: str | None, **parameters: Any) -> None:
    """Get one user's profile from Amplitude.

    Asks for properties, cohorts and computed properties, unless an option names something.
    """
    _print(_send(amplitude.GetProfile(user_id, **_asked(parameters))))


@get.command("userflux")
@click.argument("user_id")
def get_userflux(user_id: str) -> None:
    """Get one user's profile from UserFlux."""
    _print(_send(userflux.GetProfile(user_id)))


def _asked(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a GetProfile that were given, or the usual ones."""
    named = given(parameters)
    asks = named.keys() - {"device_id", "limit", "rec_type", "propensity_type"}
    return named if asks else {**_USUAL, **named}


# ---- one update --------------------------------------------------------------------------------


@cli.group()
def update() -> None:
    """Update one profile."""


@update.command("userflux")
@click.argument("user_id")
@click.argument("properties", nargs=-1, metavar="[KEY=VALUE]...")
@request_options(userflux.UpdateProfile, skip={"user_id", "properties"})
def update_userflux(user_id: str, properties: tuple[str, ...], **parameters: Any) -> None:
    """Set properties of one user in UserFlux.

    A VALUE is read as JSON where it is JSON, else as text: plan=pro visits=3 tags='["a", "b"]'.
    USER_ID may be - where --anonymous-id says who it is.
    """
    pairs = dict(_pair(text) for text in properties)
    named = {name: value for name, value in parameters.items() if value is not None}
    _send(userflux.UpdateProfile(None if user_id == "-" else user_id, properties=pairs or None, **named))


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        msg = f"{text!r} is not KEY=VALUE"
        raise click.UsageError(msg)
    return key, json_value(value)


def _send(request: Request[Any]) -> Any:  # noqa: ANN401 - the request's own answer
    async def send() -> Any:  # noqa: ANN401 - as above
        async with ProfileClient(_account(request.endpoint.vendor.name)) as client:
            return await client.send(request)

    return asyncio.run(send())


def _print(value: msgspec.Struct) -> None:
    text = orjson.dumps(msgspec.to_builtins(value), option=orjson.OPT_INDENT_2)
    click.echo(text.decode())


def _account(vendor: str, rate: Rate | None = None) -> Account:
    """Return the account of the environment, with the caller's own quota."""
    account: Account | None
    if vendor == "amplitude":
        account, needed = amplitude.Account.from_env(os.environ), "AMPLITUDE_SECRET_KEY"
    else:
        account, needed = userflux.Account.from_env(os.environ), "USERFLUX_READ_KEY or USERFLUX_WRITE_KEY"
    if account is None:
        msg = f"no key for {vendor}: set {needed} (or try `profilekit demo`, which needs none)"
        raise ConfigError(msg)
    return account if rate is None else msgspec.structs.replace(account, rate=rate)


# ---- a list ------------------------------------------------------------------------------------


class _RateType(click.ParamType[Rate]):
    name = "requests/seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Rate:
        try:
            return value if isinstance(value, Rate) else Rate.parse(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


@cli.command()
@click.argument("source", metavar="INPUT")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A .jsonl or .csv file.")
@click.option("--vendor", required=True, type=click.Choice(["amplitude", "userflux"]), help="Whom to ask.")
@click.option("--id-column", default="user_id", show_default=True, help="The column that holds the user id.")
@click.option("--prefix", default="", help="What the added columns, profile and error, begin with.")
@click.option("--rate", type=_RateType(), help="The quota, for example 600/60; the vendor's own if left out.")
@request_options(amplitude.GetProfile, skip={"user_id", "device_id"})
def enrich(source: str, output: Path, vendor: str, id_column: str, prefix: str, rate: Rate | None, **parameters: Any) -> int:
    """Add profiles to a list of users.

    INPUT is a CSV or JSONL file, a file of one id a line, or - for standard input. The output has one
    row for each of the input, with the profile, or with the error. An id that comes again is fetched
    once. The options from --get-recs on are for Amplitude.

    Exit status: 0 when every row has its profile, 3 when some have an error, 2 when nothing was sent.
    """
    account = _account(vendor, rate)
    ask = _asker(vendor, parameters)
    with _as_file(source) as path:
        table = open_table(path, id_column)
        tally = Tally(vendor, table.rows, account.rate)

        async def work() -> None:
            async with ProfileClient(account) as client:
                with open_sink(output, table.columns, prefix=prefix) as write, tracked(tally) as show:
                    async with aclosing(enrich_rows(client, table, ask)) as rows:
                        async for row in rows:
                            write(row)
                            tally.count(row.error)
                            show(tally)
                tally.finish(client.stats().sent)

        asyncio.run(work())
    stderr().print(summary(f"{table.rows} rows in {output}", [tally]))
    return _SOME_FAILED if tally.failed else 0


def _asker(vendor: str, parameters: dict[str, Any]) -> Callable[[str], Request[Any]]:
    if vendor == "userflux":
        if given(parameters):
            msg = f"--{next(iter(given(parameters))).replace('_', '-')} is for Amplitude"
            raise click.UsageError(msg)
        return userflux.GetProfile
    asked = _asked(parameters)
    amplitude.GetProfile("anybody", **asked)
    return lambda user_id: amplitude.GetProfile(user_id, **asked)


@contextmanager
def _as_file(source: str) -> Iterator[Path]:
    """Return the path of a file that can be read twice, standard input included."""
    if source != "-":
        yield Path(source)
        return
    with tempfile.NamedTemporaryFile(prefix="profilekit-", suffix="") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.flush()
        yield Path(copy.name)


# ---- the simulator -----------------------------------------------------------------------------


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, help="The port of both vendors; 0 takes a free one.")
@click.option("--userflux-port", type=int, help="A port of its own for UserFlux.")
@click.option("--rate", type=_RateType(), default="600/60", show_default=True, help="Amplitude's quota.")
@click.option("--userflux-rate", type=_RateType(), default="100/1", show_default=True, help="UserFlux's quota.")
@click.option("--latency", default=0.03, show_default=True, help="The median time an answer takes, in seconds.")
@click.option("--unknown", default=0.0, show_default=True, help="The share of ids that are nobody.")
@click.option("--failing", default=0.0, show_default=True, help="The share of requests answered with 500.")
@click.option("--shape", type=click.Choice(["pages", "spec"]), default="pages", show_default=True, help="The shape of Amplitude's answers.")
@click.option("--seed", default=0, show_default=True, help="Decides who is who.")
def simulate(
    *,
    host: str,
    port: int,
    userflux_port: int | None,
    rate: Rate,
    userflux_rate: Rate,
    latency: float,
    unknown: float,
    failing: float,
    shape: Shape,
    seed: int,
) -> None:
    """Run both vendors on a local port, until Ctrl-C.

    What they have seen is at /_simulator/stats.
    """
    simulator = Simulator(
        amplitude_rate=rate,
        userflux_rate=userflux_rate,
        latency=latency,
        unknown=unknown,
        failing=failing,
        shape=shape,
        seed=seed,
    )

    async def serve() -> None:
        await simulator.start(host=host, port=port, userflux_port=userflux_port)
        for name, value in simulator.environ().items():
            click.echo(f"export {name}={value}")
        try:
            await asyncio.Event().wait()
        finally:
            await simulator.close()

    try:
        asyncio.run(serve())
    except OSError as error:
        msg = f"cannot listen on {host}: {error.strerror}"
        raise click.ClickException(msg) from None


@cli.command()
@click.option("--users", default=2000, show_default=True, type=click.IntRange(min=1), help="How many users.")
@click.option("--directory", type=click.Path(file_okay=False, path_type=Path), help="Where the files go; a new folder if left out.")
def demo(users: int, directory: Path | None) -> int:
    """See all of it work, with no key and no network: enrich a list from both vendors, and write back."""
    directory = directory or Path(tempfile.mkdtemp(prefix="profilekit-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    return asyncio.run(run_demo(users, directory))
