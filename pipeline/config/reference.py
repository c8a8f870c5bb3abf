"""The page of `--help` that lists every key of a config with its type, default and meaning."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import TAGS, Config


def config_reference() -> str:
    """One line a key, in the order of the schema."""
    return "\n".join(["config keys:", *lines(Config, "")])


def lines(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = prefix + name
        sections = [option for option in alternatives(field.annotation) if is_section(option)]
        yield f"  {key}: {spell(field.annotation)}{default_of(field)}"
        if field.description:
            yield f"      {' '.join(field.description.split())}"
        for option in sections:
            inner = key if len(sections) == 1 else f"{key}({tag(option)})"
            yield f"  {inner}: {' '.join((option.__doc__ or '').split())}"
            yield from lines(option, f"{inner}.")


def tag(section: type[BaseModel]) -> str:
    """The word that chooses this section among its siblings."""
    key = next(name for name in TAGS if name in section.model_fields)
    return str(typing.get_args(section.model_fields[key].annotation)[0])


def default_of(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required)"
    return "" if isinstance(field.default, BaseModel) else f" = {field.default!r}"


def is_section(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def alternatives(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for option in typing.get_args(annotation) for inner in alternatives(option)]
    return [annotation]


def spell(annotation: Any) -> str:
    """A type as a reader would say it."""
    return " | ".join(word(option) for option in alternatives(annotation))


def word(option: Any) -> str:
    if option is type(None):
        return "none"
    origin = typing.get_origin(option)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in typing.get_args(option))
    if origin is tuple:
        return f"({', '.join(spell(part) if part is not ... else '…' for part in typing.get_args(option))})"
    if origin is dict:
        return "mapping"
    if is_section(option):
        return tag(option) if any(name in option.model_fields for name in TAGS) else "section"
    return getattr(option, "__name__", str(option))
