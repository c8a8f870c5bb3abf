"""The page of `--help` that lists every key of a config with its type, default and meaning."""

import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config import Config


def config_reference() -> str:
    """One line a key, in the order of the schema."""
    return "\n".join(["config keys:", *lines(Config, "")])


def lines(section: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in section.model_fields.items():
        key = prefix + name
        sections = [option for option in alternatives(field.annotation) if is_section(option)]
        meaning = field.description or (sections[0].__doc__ if len(sections) == 1 else "") or ""
        yield f"  {key}: {spell(field.annotation)}{default_of(field)}"
        yield f"      {' '.join(meaning.split())}"
        for option in sections:
            yield from lines(option, f"{key}." if len(sections) == 1 else f"{key}[{option.__name__}].")


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
    return "section" if is_section(option) else getattr(option, "__name__", str(option))
