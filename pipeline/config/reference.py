"""The part of `--help` that lists every key of a config with its type, default and meaning."""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.config.section import TAGS, Section, is_section, union_members


def config_reference(schema: type[Section]) -> str:
    """A line per key, in the order of the schema."""
    return "\n".join(["config keys:", *reference_lines(schema, "")])


def reference_lines(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """The keys of a section below `prefix`, and those of the sections in it."""
    for name, field in section.model_fields.items():
        key = prefix + name
        sections = [option for option in union_members(field.annotation) if is_section(option)]
        yield f"  {key}: {format_type(field.annotation)}{format_default(field)}"
        if field.description:
            yield f"      {' '.join(field.description.split())}"
        for option in sections:
            inner = key if len(sections) == 1 else f"{key}({tag_value(option)})"
            yield f"  {inner}: {' '.join((option.__doc__ or '').split())}"
            yield from reference_lines(option, f"{inner}.")


def tag_value(section: type[BaseModel]) -> str:
    """The value that chooses this section among its alternatives."""
    key = next(name for name in TAGS if name in section.model_fields)
    return str(typing.get_args(section.model_fields[key].annotation)[0])


def format_default(field: FieldInfo) -> str:
    if field.is_required():
        return "  (required)"
    return "" if isinstance(field.default, BaseModel) else f" = {field.default!r}"


def format_type(annotation: Any) -> str:
    """`auto | int`, `(float, float)`, `mapping`, `section`."""
    return " | ".join(format_member(option) for option in union_members(annotation))


def format_member(option: Any) -> str:
    if option is type(None):
        return "none"
    origin, arguments = typing.get_origin(option), typing.get_args(option)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in arguments)
    if origin is tuple:
        return f"({', '.join('…' if part is ... else format_type(part) for part in arguments)})"
    if origin is dict:
        return "mapping"
    if is_section(option):
        return tag_value(option) if any(name in option.model_fields for name in TAGS) else "section"
    return getattr(option, "__name__", str(option))
