"""One entry of a table and its options, from a configuration that says `NAME` or `{key: NAME, option: value}`."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from pipeline.core.errors import did_you_mean
from pipeline.models.registry import check_keywords

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
