"""The registry of report sections, and what sections are made of.

One entry in one file adds a section to a page:

    @SECTIONS.register("prices", title="Prices", template="<p>{{ content }}</p>")
    def read_prices(inputs: ReportInputs) -> str | None:
        return ...

The function reads what the section shows from the inputs of the report, and the Jinja template renders it as `content`;
the macros of templates/macros.html.j2 are available to it, and all text is escaped. If the function returns None, the
page shows `missing`, or leaves the section out if there is no such text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.core.registry import Registry
from pipeline.reporting.inputs import ReportInputs

Page = Literal["experiment", "cohort", "index"]
Severity = Literal["good", "caution", "bad"]
Statement = tuple[Severity, str]
"""A sentence about the results, and how it is marked."""


@dataclass(frozen=True)
class Section:
    """One section of a page."""

    name: str
    """Anchor in the page."""
    read: Callable[[ReportInputs], Any]
    title: str
    template: str
    page: Page = "experiment"
    missing: str = ""
    """What is not available, and the command that makes it."""


SECTIONS: Registry[Section] = Registry("report section", Section)


def sections_of(page: Page) -> list[Section]:
    """In the order in which they were registered."""
    return [section for section in SECTIONS.entries() if section.page == page]


@dataclass(frozen=True)
class Figure:
    """An SVG drawing with title and caption."""

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the rows."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
