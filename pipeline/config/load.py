"""From YAML files and `key=value` words to one checked `Config`."""

from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.config import TAGS, Cohort, Config, Section
from pipeline.core.errors import did_you_mean
from pipeline.core.io import parse_value, read_yaml

CONFIGS = Path("configs")
COHORTS = CONFIGS / "cohorts"
PARAMS = Path("params.yaml")
CHOSEN = ("cohort", "experiments", "folds")


def resolve(config: str | None, overrides: list[str]) -> Config:
    """Read experiment `config` (default: the first of params.yaml) and its cohort, change keys, check everything."""
    params = read_params()
    path = find(config or first_experiment(params), CONFIGS)
    content = {**params, "name": path.stem, **mapping(path)}
    changes = [split_override(word) for word in overrides]
    for keys, value in changes:
        if keys == ["cohort"]:
            content["cohort"] = value
    cohort_file, content["cohort"] = cohort_of(content.get("cohort"), path)
    for keys, value in changes:
        if keys != ["cohort"]:
            put(content, keys, value)
    return check(Config, content, where=str(path), cohort_file=cohort_file).remember(overrides)


def read_params() -> dict[str, Any]:
    """params.yaml: what to run."""
    params = mapping(PARAMS) if PARAMS.exists() else {}
    for key in params:
        if key not in CHOSEN:
            raise ValueError(f"{PARAMS}: unknown key '{key}'.{did_you_mean(key, CHOSEN)} Known: {', '.join(CHOSEN)}.")
    return params


def first_experiment(params: dict[str, Any]) -> str:
    if not params.get("experiments"):
        raise ValueError(f"{PARAMS}: experiments is empty; name one there, or give --config 3d_poolformer.yaml.")
    return params["experiments"][0]


def check_cohort(name: str) -> Cohort:
    """A cohort's file alone, by its path or its name."""
    path = find(name, COHORTS)
    return check(Cohort, named(path), where=str(path))


def cohort_of(cohort: Any, experiment: Path) -> tuple[Path, dict[str, Any]]:
    """The file that a cohort stands in, with its content.

    `cohort` is a name, or the content itself: the config.yaml of a run, which repeats it, holds experiment and cohort.
    """
    if isinstance(cohort, dict):
        return experiment, cohort
    if not isinstance(cohort, str):
        raise ValueError(
            f"cohort must be a name from {COHORTS}/, got {cohort!r}; set it in {PARAMS} or give cohort=NAME."
        )
    path = find(cohort, COHORTS)
    return path, named(path)


def named(path: Path) -> dict[str, Any]:
    """The content of a cohort's file, named after it."""
    return {"name": path.stem, **mapping(path)}


def find(name: str, folder: Path) -> Path:
    """A YAML file by its path, or by its bare name in `folder`."""
    for candidate in (Path(name), folder / name, folder / f"{name}.yaml"):
        if candidate.suffix in (".yaml", ".yml") and candidate.is_file():
            return candidate
    known = sorted(path.name for path in folder.glob("*.yaml"))
    wanted = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
    raise FileNotFoundError(
        f"{name}: no such config, here or in {folder}/.{did_you_mean(wanted, known)} "
        f"Known: {', '.join(known) or 'none'}."
    )


def mapping(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys with values, got {type(content).__name__}.")
    return content


def split_override(word: str) -> tuple[list[str], Any]:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ValueError(f"'{word}' is not an override; expected section.key=value, such as training.max_epochs=5.")
    return key.split("."), parse_value(text)


def put(content: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set one nested key, making the sections on the way."""
    for depth, key in enumerate(keys[:-1]):
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise ValueError(f"{'.'.join(keys)}: '{'.'.join(keys[: depth + 1])}' is a value, not a section.")
    content[keys[-1]] = value


def check(schema: type[Section], content: dict[str, Any], where: str, cohort_file: Path | None = None) -> Any:
    """Validate; every problem becomes one line with file, key, value and the nearest valid key.

    `cohort_file` is where the section `cohort` comes from, all else comes from `where`.
    """
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        problems = without_auto(error.errors())
        files = [cohort_file if cohort_file and problem["loc"][:1] == ("cohort",) else where for problem in problems]
        lines = [f"{file}: {explain(schema, problem)}" for file, problem in zip(files, problems, strict=True)]
        raise ValueError("\n".join(lines)) from None


def without_auto(problems: list[Any]) -> list[Any]:
    """A key that may be `auto` or something else fails twice; the complaint that it is not `auto` helps nobody."""

    def is_auto(problem: Any) -> bool:
        return problem["type"] == "literal_error" and problem["ctx"]["expected"] == "'auto'"

    return [problem for problem in problems if not is_auto(problem)] or problems


def check_file(schema: type[Section], path: Path) -> Any:
    """Read a YAML file against its schema."""
    return check(schema, mapping(path), where=str(path))


def explain(schema: type[Section], problem: Any) -> str:
    what = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{what}; change one of the two."
    keys, owner = walk(schema, problem["loc"])
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = [field for field in owner.model_fields if field != "root"]
        return f"unknown key '{name}'.{did_you_mean(keys[-1], known)} Known here: {', '.join(known)}."
    if problem["type"] == "missing" and keys[-1] in owner.model_fields:
        return f"'{name}' is missing: {owner.model_fields[keys[-1]].description}"
    got = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"{name}: {what}{got}."


def walk(schema: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], type[BaseModel]]:
    """The keys a user typed, without pydantic's names of union members, and the section that holds the last one."""
    keys: list[str] = []
    owner, current = schema, [schema]
    for step in location:
        sections = [option for option in current if isinstance(option, type) and issubclass(option, BaseModel)]
        holders = [section for section in sections if step in section.model_fields]
        tagged = [section for section in sections if step in tags(section)]
        if holders:
            owner, current = holders[0], members(holders[0].model_fields[step].annotation)
            keys.append(str(step))
        elif tagged:
            owner, current = tagged[0], tagged
        elif len(sections) == 1 and isinstance(step, str):
            owner = sections[0]
            keys.append(step)
        elif isinstance(step, int):
            keys.append(str(step))
    return keys or [str(step) for step in location], owner


def tags(section: type[BaseModel]) -> set[str]:
    """Values of `kind` or `scheme` that choose this section among its siblings."""
    return {
        tag for key in TAGS if key in section.model_fields for tag in get_args(section.model_fields[key].annotation)
    }


def members(annotation: Any) -> list[Any]:
    """The alternatives of a type, unwrapped."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for option in get_args(annotation) for member in members(option)]
    return [annotation]
