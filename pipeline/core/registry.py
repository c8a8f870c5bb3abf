"""A registry: what can be chosen by name in a config, such as losses, metrics or cohort sources.

One entry in one file adds a choice:

    LOSSES = Registry("loss", Loss)                 # Loss is a dataclass (name, function, title, tasks)

    @LOSSES.register("focal", title="Focal loss", tasks=("binary", "multiclass"))
    def focal_loss(logits, labels): ...

Without a second argument the registry holds the registered object itself. A module outside this package registers in
the same way; `load_plugins` imports it because a local config lists it under `plugins`.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.core.errors import did_you_mean

Entry = TypeVar("Entry")
Target = TypeVar("Target")


class Registry(Generic[Entry]):
    """Entries by name, in the order in which they were registered."""

    def __init__(
        self, what: str, make_entry: Callable[..., Entry] | None = None, built_in: tuple[str, ...] = ()
    ) -> None:
        """`what` names one entry in error messages; `make_entry(name, target, **details)` builds what `get` returns.

        Modules in `built_in` register this project's own entries. They are imported by name at the first use, so that
        a registry can be declared in a layer below its entries.
        """
        self.what = what
        self._built_in = list(built_in)
        self._make_entry = make_entry
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, **details: Any) -> Callable[[Target], Target]:
        """Decorate a function or class to enter it under `name`; the decorated object itself is returned unchanged."""

        def enter(target: Target) -> Target:
            self.add(name, self._make_entry(name, target, **details) if self._make_entry else target)
            return target

        return enter

    def add(self, name: str, entry: Any) -> None:
        """Enter a finished entry; a name that is already registered is an error."""
        if name in self._loaded():
            raise ValueError(f"{self.what} '{name}' is already registered; choose another name.")
        self._entries[name] = entry

    def get(self, name: str) -> Entry:
        """The entry of `name`; an unknown name is an error that suggests the nearest."""
        entries = self._loaded()
        if name not in entries:
            raise ValueError(
                f"unknown {self.what} '{name}'.{did_you_mean(name, entries)} Known: {', '.join(entries) or 'none'}."
            )
        return entries[name]

    def names(self) -> tuple[str, ...]:
        return tuple(self._loaded())

    def entries(self) -> tuple[Entry, ...]:
        return tuple(self._loaded().values())

    def __contains__(self, name: object) -> bool:
        return name in self._loaded()

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, Entry]:
        """The entries, after the built-in modules were imported."""
        while self._built_in:
            importlib.import_module(self._built_in.pop(0))
        return self._entries


def load_plugins(modules: Iterable[str]) -> None:
    """Import a user's own modules, found from the current folder, so that they register their entries.

    Call this only with names from a local config file, never with content of a checkpoint: it runs code.
    """
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    for module in modules:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and module != error.name and not module.startswith(f"{error.name}."):
                raise ValueError(f"plugins: module '{module}' needs '{error.name}', which is not installed.") from error
            raise ValueError(
                f"plugins: no module '{module}' in {folder} or in the environment; "
                "give a name such as my_package.my_module."
            ) from None
