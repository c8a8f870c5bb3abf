"""Validate a config: each problem becomes one line with file, key, value and the nearest valid key."""

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.config.section import TAGS, Section, union_members
from pipeline.core.errors import did_you_mean
from pipeline.core.io import shorten


def validate(
    schema: type[Section],
    content: dict[str, Any],
    where: str,
    cohort_file: Path | None = None,
    *,
    is_record: bool = False,
) -> Any:
    """The validated section; raises ValueError with a line per problem.

    `where` is the file that the content comes from, `cohort_file` that of its section `cohort`. A record is a file
    that a run wrote: see `Section.from_record`.
    """
    try:
        return schema.from_record(content) if is_record else schema.model_validate(content)
    except ValidationError as error:
        problems = drop_auto_mismatches(error.errors())
        files = [cohort_file if cohort_file and problem["loc"][:1] == ("cohort",) else where for problem in problems]
        lines = [f"{file}: {format_problem(schema, problem)}" for file, problem in zip(files, problems, strict=True)]
        raise ValueError("\n".join(lines)) from None


def drop_auto_mismatches(problems: list[Any]) -> list[Any]:
    """Without the complaint that a value is not `auto`: a key that takes `auto` or something else fails for both."""

    def is_auto(problem: Any) -> bool:
        return problem["type"] == "literal_error" and problem["ctx"]["expected"] == "'auto'"

    return [problem for problem in problems if not is_auto(problem)] or problems


def format_problem(schema: type[Section], problem: Any) -> str:
    """One of pydantic's errors as `key: what is wrong, got value`."""
    what = problem["msg"].removeprefix("Value error, ").removesuffix(".")
    if not problem["loc"]:
        return f"{what}; change one of the two."
    keys, owner = locate_field(schema, problem["loc"])
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = [field for field in owner.model_fields if field != "root"]
        return f"unknown key '{name}'.{did_you_mean(keys[-1], known)} Known here: {', '.join(known)}."
    if problem["type"] == "missing" and keys[-1] in owner.model_fields:
        meaning = owner.model_fields[keys[-1]].description
        return f"'{name}' is missing{f': {meaning}' if meaning else '; give it'}"
    got = "" if isinstance(problem["input"], dict) else f", got {shorten(problem['input'])}"
    is_name = problem["type"] == "string_type" and isinstance(problem["input"], bool | int | float)
    return f"{name}: {what}{got}{'; write a name that looks like a value in quotes' if is_name else ''}."


def locate_field(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel]]:
    """The keys a user typed, without pydantic's names of union members, and the section that holds the last one."""
    keys: list[str] = []
    owner, current = schema, [schema]
    for step in location:
        sections = [option for option in current if isinstance(option, type) and issubclass(option, BaseModel)]
        holders = [section for section in sections if step in section.model_fields]
        tagged = [section for section in sections if step in tag_values(section)]
        if holders:
            owner, current = holders[0], union_members(holders[0].model_fields[step].annotation)
            keys.append(str(step))
        elif tagged:
            owner, current = tagged[0], tagged
        elif len(sections) == 1 and isinstance(step, str):
            owner = sections[0]
            keys.append(step)
        elif isinstance(step, int):
            keys.append(str(step))
    return keys or [str(step) for step in location], owner


def tag_values(section: type[BaseModel]) -> set[str]:
    """Values of `kind` or `scheme` that choose this section among its siblings."""
    return {
        tag for key in TAGS if key in section.model_fields for tag in get_args(section.model_fields[key].annotation)
    }
