"""Where a result comes from: code, packages and git revision, and configs without the paths of one machine."""

import functools
import hashlib
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
NAMES = ("classes", "positive_class", "columns", "stratify", "test_sites")
"""Keys of a config whose values are names in the label table, never paths."""


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """The config without local paths: a checkpoint is copied to other machines, and prediction needs none of them."""
    source = {key: "" if key in ("scans", "table") else value for key, value in config["cohort"]["source"].items()}
    return strip_local_paths({**config, "root": ".", "cohort": {**config["cohort"], "source": source}})


def strip_local_paths(value: Any) -> Any:
    """The same nested value with the bare file name in place of each absolute path; a class may be called `/x`."""
    if isinstance(value, dict):
        return {key: inner if key in NAMES else strip_local_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [strip_local_paths(inner) for inner in value]
    is_absolute = isinstance(value, str) and value.startswith(("/", "~"))
    return Path(value).name if is_absolute else value


@functools.cache
def hash_of_modules(names: tuple[str, ...]) -> str:
    """One SHA-256 over the names and contents of modules and folders of this package."""
    paths = [PACKAGE / name for name in names]
    modules = sorted(module for path in paths for module in (path.rglob("*.py") if path.is_dir() else [path]))
    digest = hashlib.sha256()
    for module in modules:
        content = module.read_bytes()
        digest.update(f"{module.relative_to(PACKAGE).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def git_revision(root: Path) -> str:
    """The commit of the checkout at `root`, with `-dirty` if files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=root, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "not under version control"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
