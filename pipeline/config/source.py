"""Section `source`: where scans and labels come from, one registered kind of options per source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import SerializeAsAny, TypeAdapter, ValidationInfo, WrapValidator
from pydantic.functional_validators import ModelWrapValidatorHandler

from pipeline.config.columns import Columns
from pipeline.config.section import Section, is_record
from pipeline.core.paths import CohortPaths
from pipeline.core.registry import Registry


class Source(Section):
    """Options of one kind of source; a subclass sets `kind: Literal["its name"]` and adds its own keys."""

    kind: str
    """Which source."""

    @classmethod
    def alternatives(cls) -> tuple[type[Section], ...]:
        """The options of every registered kind."""
        return tuple(entry.options for entry in SOURCES.entries()) if cls is Source else (cls,)

    def check_columns(self, columns: Columns) -> None:
        """Raise `ValueError` for column roles that contradict these options."""


class UnknownSource(Source, extra="allow"):
    """A source in the record of a run, whose kind no module imported here has registered."""


@dataclass(frozen=True)
class SourceKind:
    """An entry of the registry: what `source: {kind: <name>, …}` runs."""

    name: str
    write: Callable[[Any, CohortPaths, Path], None]
    """`write(options, new, downloads)` fills the empty folder `new` with `new.raw` and `new.labels`; what it downloads
    into the folder `downloads` is kept for the next time."""
    title: str
    """In a few words, for `--help` and the report."""
    options: type[Source]
    extras: tuple[str, ...] = ()
    """Names of further files or folders that it writes beside `raw`."""

    def __post_init__(self) -> None:
        if get_args(self.options.model_fields["kind"].annotation) != (self.name,):
            raise ValueError(f'{self.options.__name__}.kind: expected Literal["{self.name}"], the registered name.')


SOURCES = Registry("source kind", SourceKind, built_in=("pipeline.cohorts.sources.kinds",))
"""Sources by kind."""


def _validate(value: Any, handler: ModelWrapValidatorHandler[Source], info: ValidationInfo) -> Source:
    """Validate against the options of the kind; error locations contain the kind, as for a discriminated union."""
    if not isinstance(value, dict):
        return handler(value)
    kind = value.get("kind")
    if kind is None:
        raise ValueError(f"kind is missing; choose one of {', '.join(SOURCES.names())}")
    if kind not in SOURCES and is_record(info):
        return UnknownSource(**value)
    options = SOURCES.get(kind).options
    return TypeAdapter(dict[str, options]).validate_python({kind: value})[kind]


AnySource = Annotated[SerializeAsAny[Source], WrapValidator(_validate)]
"""Options of any registered kind."""
