"""Where a result comes from: hashes of code, and configs without the folders of the machine they were resolved on."""

import functools
import hashlib
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]


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


@functools.cache
def hash_of_modules(names: tuple[str, ...]) -> str:
    """One SHA-256 of modules and folders of this package, by name and content."""
    places = [PACKAGE / name for name in names]
    modules = sorted(module for place in places for module in (place.rglob("*.py") if place.is_dir() else [place]))
    digest = hashlib.sha256()
    for module in modules:
        content = module.read_bytes()
        digest.update(f"{module.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()
