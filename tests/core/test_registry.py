import sys
from dataclasses import dataclass
from types import FunctionType

import pytest

from pipeline.core.registry import Registry, load_plugins


@dataclass(frozen=True)
class Shape:
    name: str
    function: FunctionType
    title: str


def test_an_entry_is_found_by_its_name_in_the_order_of_registration():
    registry: Registry[int] = Registry("number")
    registry.add("two", 2)
    registry.add("one", 1)
    assert (registry.get("one"), registry.names(), registry.entries()) == (1, ("two", "one"), (2, 1))
    assert "two" in registry and "three" not in registry
    assert (list(registry), len(registry)) == (["two", "one"], 2)


def test_the_decorator_returns_the_function_and_keeps_its_details_in_the_entry():
    registry = Registry("shape", Shape)

    @registry.register("round", title="Round shape")
    def draw() -> str:
        return "o"

    assert draw() == "o"
    assert registry.get("round") == Shape("round", draw, "Round shape")


def test_without_an_entry_type_the_registry_holds_the_function_itself():
    registry = Registry("shape")

    @registry.register("square")
    def draw() -> str:
        return "#"

    assert registry.get("square") is draw


def test_an_unknown_name_is_an_error_that_suggests_the_nearest():
    registry: Registry[int] = Registry("loss")
    registry.add("focal", 1)
    registry.add("cross_entropy", 2)
    with pytest.raises(ValueError, match=r"unknown loss 'vocal'. Did you mean 'focal'\? Known: focal, cross_entropy."):
        registry.get("vocal")
    with pytest.raises(ValueError, match="unknown loss 'focal'. Known: none."):
        Registry("loss").get("focal")


def test_a_name_is_registered_only_once():
    registry: Registry[int] = Registry("metric")
    registry.add("auroc", 1)
    with pytest.raises(ValueError, match="metric 'auroc' is already registered"):
        registry.register("auroc")(test_a_name_is_registered_only_once)
    assert registry.get("auroc") == 1


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder that is not on the import path; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def test_a_plugin_is_imported_from_the_current_folder(folder):
    (folder / "plugin_that_marks.py").write_text("from pathlib import Path\nPath('mark').write_text('imported')\n")
    load_plugins(["plugin_that_marks"])
    assert (folder / "mark").read_text() == "imported"


def test_a_plugin_that_is_missing_or_needs_a_missing_module_says_which(folder):
    (folder / "plugin_with_needs.py").write_text("import no_such_library\n")
    with pytest.raises(ValueError, match="plugins: no module 'no_such_plugin' in "):
        load_plugins(["no_such_plugin"])
    with pytest.raises(ValueError, match="'plugin_with_needs' needs 'no_such_library', which is not installed"):
        load_plugins(["plugin_with_needs"])


def test_built_in_entries_are_imported_at_the_first_use(folder):
    (folder / "shapes_of_this_project.py").write_text("from shape_registry import SHAPES\nSHAPES.add('round', 1)\n")
    (folder / "shape_registry.py").write_text(
        "from pipeline.core.registry import Registry\n"
        "SHAPES = Registry('shape', built_in=('shapes_of_this_project',))\n"
    )
    load_plugins(["shape_registry"])
    assert "shapes_of_this_project" not in sys.modules
    shapes = sys.modules["shape_registry"].SHAPES
    with pytest.raises(ValueError, match="shape 'round' is already registered"):
        shapes.add("round", 2)
    assert shapes.get("round") == 1
