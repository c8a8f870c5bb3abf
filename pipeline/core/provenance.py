"""Configs without the folders of the machine they were resolved on."""

from pathlib import Path
from typing import Any


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """The config without the folders of its machine: a checkpoint travels, and prediction needs none of them."""
    source = {key: "" if key in ("scans", "table") else value for key, value in config["cohort"]["source"].items()}
    return without_folders({**config, "root": ".", "cohort": {**config["cohort"], "source": source}})


def without_folders(value: Any) -> Any:
    """The same value with the bare name in place of each absolute path."""
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_folders(inner) for inner in value]
    is_place = isinstance(value, str) and Path(value).expanduser().is_absolute()
    return Path(value).name if is_place else value
