"""Load a config: YAML files and `section.key=value` words become one validated `Config`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Cohort, Config, Section
from pipeline.config.validate import validate
from pipeline.core.errors import did_you_mean
from pipeline.core.io import parse_yaml, read_yaml, shorten
from pipeline.core.registry import load_plugins

CONFIGS = Path("configs")
COHORTS = CONFIGS / "cohorts"
PARAMS = Path("params.yaml")
PARAMS_KEYS = ("cohort", "experiments", "folds", "seeds")


def load_config(config: str | None, overrides: Sequence[str]) -> Config:
    """The experiment `config` (default: the first of params.yaml) on its cohort, with `overrides`, validated."""
    params = read_params()
    path = find_file(config or first_experiment(params), CONFIGS)
    content = {**params, "name": path.stem, **read_mapping(path)}
    changes = [split_override(word) for word in overrides]
    for keys, value in changes:
        if keys == ["cohort"]:
            content["cohort"] = value
    cohort_file, content["cohort"] = read_cohort_file(content.get("cohort"), path)
    for keys, value in changes:
        if keys != ["cohort"]:
            set_nested(content, keys, value)
    import_plugins(content, str(path))
    import_plugins(content["cohort"], str(cohort_file))
    return validate(Config, content, where=str(path), cohort_file=cohort_file)


def read_params() -> dict[str, Any]:
    """The content of params.yaml, which says what to run."""
    params = read_mapping(PARAMS) if PARAMS.exists() else {}
    for key in params:
        if key not in PARAMS_KEYS:
            raise ValueError(
                f"{PARAMS}: unknown key '{key}'.{did_you_mean(key, PARAMS_KEYS)} Known: {', '.join(PARAMS_KEYS)}."
            )
    return params


def first_experiment(params: dict[str, Any]) -> str:
    experiments = params.get("experiments")
    if experiments and not (isinstance(experiments, list) and all(isinstance(name, str) for name in experiments)):
        raise ValueError(f"{PARAMS}: experiments must be a list of names, got {shorten(experiments)}.")
    if not experiments:
        raise ValueError(f"{PARAMS}: experiments is empty; name one there, or give --config 3d_poolformer.yaml.")
    return experiments[0]


def load_cohort(name: str) -> Cohort:
    """A cohort by its path or its name, without an experiment."""
    path = find_file(name, COHORTS)
    content = read_named(path)
    import_plugins(content, str(path))
    return validate(Cohort, content, where=str(path))


def import_plugins(content: dict[str, Any], where: str) -> None:
    """Import the modules under `plugins` of a local config, so that the schema knows the names they register."""
    plugins = content.get("plugins") or ()
    if isinstance(plugins, list) and all(isinstance(module, str) for module in plugins):
        try:
            load_plugins(plugins)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


def read_cohort_file(cohort: Any, experiment: Path) -> tuple[Path, dict[str, Any]]:
    """The file that contains a cohort, and its content.

    `cohort` is a name, or the content itself: the config.yaml of a run contains both experiment and cohort.
    """
    if isinstance(cohort, dict):
        return experiment, cohort
    if not isinstance(cohort, str):
        raise ValueError(
            f"cohort must be a name from {COHORTS}/, got {shorten(cohort)}; set it in {PARAMS} or give cohort=NAME."
        )
    path = find_file(cohort, COHORTS)
    return path, read_named(path)


def read_named(path: Path) -> dict[str, Any]:
    """The content of a cohort's file; the cohort is named after the file."""
    return {"name": path.stem, **read_mapping(path)}


def find_file(name: str, folder: Path) -> Path:
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


def read_mapping(path: Path) -> dict[str, Any]:
    """The keys of a YAML file; an empty file has none."""
    content = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected keys with values, got {type(content).__name__}.")
    return content


def split_override(word: str) -> tuple[list[str], Any]:
    """`training.max_epochs=5` as `["training", "max_epochs"]` and 5."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ValueError(f"'{word}' is not an override; expected section.key=value, such as training.max_epochs=5.")
    return key.split("."), parse_yaml(text, key) if text else ""


def set_nested(content: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set one nested key and create the sections that lead to it."""
    for depth, key in enumerate(keys[:-1]):
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise ValueError(f"{'.'.join(keys)}: '{'.'.join(keys[: depth + 1])}' is a value, not a section.")
    content[keys[-1]] = value


def load_yaml(schema: type[Section], path: Path) -> Any:
    """Read a YAML file that a stage wrote, and validate it."""
    return validate(schema, read_mapping(path), where=str(path), is_record=True)
