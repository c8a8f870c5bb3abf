"""Which modules of the package import which, read from the source without running it."""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "pipeline"


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def name_of(file: Path) -> str:
    """The dotted name: pipeline/core/io.py -> pipeline.core.io, and a package by its own name."""
    parts = file.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(file: Path, *, at_import: bool = False) -> set[str]:
    """Dotted names that a module imports; with `at_import`, only those that importing the module itself imports.

    `from a import b` gives both `a` and `a.b`, since b may be a module.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in run_at_import(tree) if at_import else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def run_at_import(tree: ast.AST) -> list[ast.AST]:
    """All nodes outside functions and outside `if TYPE_CHECKING:`."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found += [inner for part in node.orelse for inner in (part, *run_at_import(part))]
            continue
        found += [node, *run_at_import(node)]
    return found


def imported_modules(file: Path, *, at_import: bool = False) -> set[Path]:
    """Modules of this package that a module imports, as files; not the packages on the way."""
    found = (module_file(name) for name in imported_names(file, at_import=at_import))
    return {module for module in found if module is not None} - {PACKAGE / "__init__.py"}


def registered_modules(file: Path) -> set[Path]:
    """Modules of the same folder that a registry imports by name: `Registry(…, built_in=("pipeline.x.y",))`."""
    names = [node.value for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if is_module_name(node)]
    found = {module for name in names if (module := module_file(name))}
    return {module for module in found if folder_of(module) == folder_of(file)}


def is_module_name(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text and re.fullmatch(rf"{PACKAGE.name}(\.\w+)+", node.value) is not None


def folder_of(file: Path) -> str:
    """The folder of the package that a module belongs to; "" for a stage."""
    parts = file.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def module_file(name: str) -> Path | None:
    """The file of a dotted name of this package; None if the name is no module."""
    if name.split(".")[0] != PACKAGE.name:
        return None
    place = REPOSITORY.joinpath(*name.split("."))
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


def with_packages(file: Path) -> set[Path]:
    """A module and the `__init__` of each package that importing it runs."""
    packages = [folder / "__init__.py" for folder in file.parents if folder == PACKAGE or PACKAGE in folder.parents]
    return {file, *(init for init in packages if init.is_file())}


def has_code(file: Path) -> bool:
    """Does the module contain more than a docstring?"""
    return len(ast.parse(file.read_text(encoding="utf-8")).body) > 1
