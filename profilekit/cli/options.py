"""Command line options out of request classes, so that a new parameter is an option at once."""

import inspect
import json
import re
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import click
import msgspec

from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.request import Request

__all__ = ["given", "json_value", "read_mode", "read_rate", "request_options"]

F = TypeVar("F", bound=Callable[..., Any])

_OCTAL = re.compile("0?[0-7]{3}")


def request_options(request: type[Request[Any]], *, skip: set[str]) -> Callable[[F], F]:
    """Return a decorator that gives a command an option for each field of a request.

    Args:
        request: The request; its docstring is the help.
        skip: The fields that the command takes in another way.
    """
    described = _described(request)
    options = [
        _option(field.name, _kinds(field.type), described.get(field.name))
        for field in msgspec.structs.fields(request)
        if field.name not in skip
    ]

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as arguments of the request."""
    values = {name: _several(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }


def _several(values: tuple[str, ...]) -> tuple[str, ...]:
    """Take several values as the vendor writes them, too: with commas."""
    return tuple(part for value in values for part in value.split(",") if part)


def json_value(text: str) -> Any:
    """Read a value from the command line: as JSON where it is JSON, else as text."""
    # Not orjson, which reads whole numbers beyond 64 bits as others.
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_rate(text: str | Rate) -> Rate:
    """Read a quota from the command line, such as 600/60."""
    try:
        return text if isinstance(text, Rate) else Rate.parse(text)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None


def read_mode(text: str | int) -> int:
    """Read permissions from the command line, such as 640.

    Raises:
        click.BadParameter: When they are not octal, or not of the owner, the group and others.
    """
    mode = text if isinstance(text, int) else int(text, 8) if _OCTAL.fullmatch(text) else None
    if mode is None:
        raise click.BadParameter(f"{text!r} is not three octal digits: give permissions such as 640")
    return mode


def _read_object(text: str) -> dict[str, Any]:
    value = json_value(text)
    if not isinstance(value, dict):
        raise click.BadParameter("it is not a JSON object")
    return value


def _option(name: str, kinds: set[Any], description: str | None) -> Callable[[F], F]:
    flag = f"--{name.replace('_', '-')}"
    if kinds == {bool}:
        return click.option(flag, name, is_flag=True, help=description)
    if bool in kinds:
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=description)
    if tuple in kinds:
        return click.option(flag, name, multiple=True, help=f"{description} Can be given again.")
    choices = sorted(kind for kind in kinds if isinstance(kind, str))
    if choices:
        return click.option(flag, name, type=click.Choice(choices), help=description)
    if dict in kinds:
        return click.option(flag, name, type=_read_object, metavar="JSON", help=description)
    return click.option(flag, name, type=int if int in kinds else str, help=description)


def _kinds(annotation: Any) -> set[Any]:
    """Return the classes, and the literals, that a field's type allows besides None."""
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return set().union(*(_kinds(part) for part in get_args(annotation) if part is not NoneType))
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin is Literal:
        return set(get_args(annotation))
    return {origin or annotation}


def _described(request: type[Request[Any]]) -> dict[str, str]:
    """Return the descriptions in the Args section of a docstring, by name."""
    doc = inspect.getdoc(request) or ""
    arguments = doc.partition("Args:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {6,}.+)*)", arguments, re.MULTILINE)
    return {name: " ".join(text.replace("``", "").split()) for name, text in found}
