"""``profilekit get`` and ``profilekit update``: one profile at a time, or the door to lists."""

import asyncio
from typing import Any

import click
import msgspec

from profilekit._printable import printable_json
from profilekit.cli.asking import account_of, asked
from profilekit.cli.lists import update_list
from profilekit.cli.options import json_value, request_options
from profilekit.cli.product import print_product
from profilekit.client import ProfileClient
from profilekit.request import Request
from profilekit.vendors import amplitude, userflux

__all__ = ["get", "update"]


@click.group()
def get() -> None:
    """Get one profile, as JSON."""


@get.command("amplitude")
@click.argument("user_id", required=False)
@request_options(amplitude.GetProfile, skip={"user_id"})
def get_amplitude(user_id: str | None, **parameters: Any) -> None:
    """Get one user's profile from Amplitude.

    Asks for properties, cohorts and computed properties, unless an option names something.
    """
    _print(_send(amplitude.GetProfile(user_id, **asked(parameters))))


@get.command("userflux")
@click.argument("user_id")
def get_userflux(user_id: str) -> None:
    """Get one user's profile from UserFlux."""
    _print(_send(userflux.GetProfile(user_id)))


class _OneOrList(click.Group):
    """Takes what is the name of no vendor for a list of users."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command, and its arguments."""
        if args and args[0] in self.commands:
            return super().resolve_command(ctx, args)
        return "INPUT", update_list, args


@click.group(
    cls=_OneOrList,
    context_settings={"ignore_unknown_options": True},
    subcommand_metavar="userflux USER_ID [KEY=VALUE]... | INPUT --vendor userflux [OPTIONS]",
)
def update() -> None:
    """Update one profile, or those of a list of users.

    `profilekit update INPUT --help` says more of lists.
    """


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
        raise click.UsageError(f"{text!r} is not KEY=VALUE")
    return key, json_value(value)


def _send(request: Request[Any]) -> Any:
    async def send() -> Any:
        async with ProfileClient(account_of(request.endpoint.vendor.name)) as client:
            return await client.send(request)

    return asyncio.run(send())


def _print(value: msgspec.Struct) -> None:
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    # As bytes, since a terminal's encoding may lack what a profile holds.
    print_product(printable_json(text).encode())
