"""Options that are one word out of a few."""

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import signature
from typing import TypeVar

from pipeline.core.errors import did_you_mean
from pipeline.models.network import Network


def check_choice(option: str, value: str, known: Collection[str]) -> None:
    """Refuse a value outside `known`, naming the nearest."""
    if value not in known:
        raise ValueError(f"{option}: unknown value '{value}'.{did_you_mean(value, known)} Known: {', '.join(known)}.")


Built = TypeVar("Built")
Choice = str | Mapping[str, object]


def choose(
    what: str, key: str, choice: Choice, table: Mapping[str, Callable[..., Built]]
) -> tuple[Callable[..., Built], dict[str, object]]:
    """The builder that `choice` names and the options it sets.

    Options are the arguments that the builder takes by keyword; an unknown name or option is an error that
    suggests the nearest.
    """
    options = {key: choice} if isinstance(choice, str) else dict(choice)
    if key not in options:
        known = ", ".join(table)
        raise ValueError(f"{what}: expected a name or a mapping with '{key}', got {choice!r}; the names are {known}")
    name = str(options.pop(key))
    if name not in table:
        raise ValueError(f"unknown {what} '{name}'.{did_you_mean(name, table)} Known: {', '.join(table)}.")
    check_keywords(f"{what} '{name}'", table[name], options)
    return table[name], options


Builder = Callable[..., Network]
_BUILDERS: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Enter a builder under `name`; a name is taken once."""

    def enter(builder: Builder) -> Builder:
        if name in _BUILDERS:
            raise ValueError(f"model name '{name}' is already registered")
        _BUILDERS[name] = builder
        return builder

    return enter


def model_names() -> list[str]:
    """Every registered name, sorted."""
    return sorted(_BUILDERS)


def builder_of(name: str) -> Builder:
    """The builder behind `name`; an unknown one is an error that names the nearest."""
    if name not in _BUILDERS:
        raise ValueError(f"unknown model '{name}'.{did_you_mean(name, _BUILDERS)} Known: {', '.join(model_names())}.")
    return _BUILDERS[name]


def check_options(name: str, options: Iterable[str]) -> None:
    """Refuse options that the builder of `name` does not take."""
    check_keywords(f"model '{name}'", builder_of(name), options)


def check_keywords(what: str, function: Callable[..., object], options: Iterable[str]) -> None:
    """Refuse options that are no keywords of `function`, naming the nearest; `what` opens the message."""
    parameters = signature(function).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"{what} has no option '{option}'.{did_you_mean(option, known)} Known: {listed}.")
