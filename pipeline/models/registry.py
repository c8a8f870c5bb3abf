"""The registry of networks, and checks of names and options that a config gives.

One file adds a model: decorate its builder with `@MODELS.register(name)` and import the file in `build.py`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import signature
from typing import TypeVar

from pipeline.core.errors import did_you_mean
from pipeline.core.registry import Registry
from pipeline.models.network import Network

MODELS: Registry[Callable[..., Network]] = Registry("model")

Built = TypeVar("Built")
Choice = str | Mapping[str, object]
"""A registered name, or a mapping of the name and options of its builder."""


def model_names() -> list[str]:
    """Every registered name, sorted."""
    return sorted(MODELS)


def check_choice(option: str, value: str, known: Collection[str]) -> None:
    """Reject a value outside `known` and suggest the nearest."""
    if value not in known:
        raise ValueError(f"{option}: unknown value '{value}'.{did_you_mean(value, known)} Known: {', '.join(known)}.")


def choose(
    registry: Registry[Callable[..., Built]], choice: Choice, *, key: str = "name"
) -> tuple[Callable[..., Built], dict[str, object]]:
    """The registered builder that `choice` names, and the options it sets.

    In a mapping, `key` holds the name and every other key is a keyword argument of the builder. An unknown name or
    option is an error that suggests the nearest.
    """
    options = {key: choice} if isinstance(choice, str) else dict(choice)
    if key not in options:
        known = ", ".join(registry)
        raise ValueError(
            f"{registry.what}: expected a name or a mapping with '{key}', got {choice!r}; the names are {known}"
        )
    name = str(options.pop(key))
    builder = registry.get(name)
    check_keywords(f"{registry.what} '{name}'", builder, options)
    return builder, options


def check_keywords(what: str, function: Callable[..., object], options: Iterable[str]) -> None:
    """Reject options that are no keywords of `function` and suggest the nearest; `what` opens the message."""
    parameters = signature(function).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(f"{what} has no option '{option}'.{did_you_mean(option, known)} Known: {listed}.")
