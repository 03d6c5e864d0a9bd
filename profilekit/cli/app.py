"""The command line as a whole: what there is, and how it ends."""

import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from profilekit._printable import printable
from profilekit.cli.demo import run_demo
from profilekit.cli.lists import enrich
from profilekit.cli.options import read_rate
from profilekit.cli.outbox import outbox
from profilekit.cli.profiles import get, update
from profilekit.cli.top import top
from profilekit.errors import ConfigError, OutboxError, ProfileKitError
from profilekit.rate import Rate
from profilekit.simulator import Shape, Simulator

__all__ = ["run"]

_USAGE = 2
# The exit status of what can end a command, the narrower kinds first. An OSError is a full disk, a
# closed pipe, a file that may not be written.
_STATUSES: dict[type[BaseException], int] = {
    click.ClickException: _USAGE,
    ConfigError: _USAGE,
    OutboxError: _USAGE,
    ProfileKitError: 1,
    OSError: 1,
    KeyboardInterrupt: 130,
    asyncio.CancelledError: 130,
    click.Abort: 130,
}
# Arguments in error messages of the library, which are options on the command line.
_ARGUMENTS = re.compile(r"\b(fresh|retry_failed|escape_formulas)=True\b")
_PORT = click.IntRange(0, 65535)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return the exit status: no traceback for what a person got wrong."""
    try:
        status = cli.main(list(arguments), prog_name="profilekit", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return _USAGE
    except tuple(_STATUSES) as error:
        sys.stderr.write(f"profilekit: {printable(' '.join(_said(error).split()))}\n")
        return next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
    return status if isinstance(status, int) else 0


def _said(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, ConfigError):
        return _ARGUMENTS.sub(lambda found: f"--{found[1].replace('_', '-')}", str(error))
    if isinstance(error, ProfileKitError):
        return f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}"
    return "interrupted"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="profilekit")
def cli() -> None:
    """User profiles from Amplitude and UserFlux.

    Keys come from the environment: AMPLITUDE_SECRET_KEY, AMPLITUDE_API_KEY, USERFLUX_READ_KEY,
    USERFLUX_WRITE_KEY; AMPLITUDE_BASE_URL and USERFLUX_BASE_URL lead elsewhere, to a simulator for
    example.
    """


for command in (get, update, enrich, outbox, top):
    cli.add_command(command)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=8080,
    type=_PORT,
    show_default=True,
    help="The vendors' port; 0 takes a free one.",
)
@click.option("--userflux-port", type=_PORT, help="A port of its own for UserFlux.")
@click.option(
    "--rate",
    type=read_rate,
    metavar="REQUESTS/SECONDS",
    default="600/60",
    show_default=True,
    help="Amplitude's quota.",
)
@click.option(
    "--userflux-rate",
    type=read_rate,
    metavar="REQUESTS/SECONDS",
    default="100/1",
    show_default=True,
    help="UserFlux's quota.",
)
@click.option(
    "--latency", default=0.03, show_default=True, help="The median time an answer takes, in seconds."
)
@click.option("--unknown", default=0.0, show_default=True, help="The share of ids that are nobody.")
@click.option("--failing", default=0.0, show_default=True, help="The share of requests answered with 500.")
@click.option(
    "--shape",
    type=click.Choice(["pages", "spec"]),
    default="pages",
    show_default=True,
    help="The shape of Amplitude's answers.",
)
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
        raise click.ClickException(f"cannot listen on {host}: {error.strerror}") from None
    except UnicodeError:
        raise click.ClickException(f"cannot listen on {host}: it is not the name of a host") from None


@cli.command()
@click.option("--users", default=2000, show_default=True, type=click.IntRange(min=1), help="How many users.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the files go; a new folder if left out.",
)
def demo(users: int, directory: Path | None) -> int:
    """See all of it work, with no key and no network: enrich a list from both vendors, and write back."""
    directory = directory or Path(tempfile.mkdtemp(prefix="profilekit-demo-"))
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty: name another folder")
    return asyncio.run(run_demo(users, directory))
