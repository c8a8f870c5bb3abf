"""From what a page says to one file of HTML that needs nothing else; whatever comes from data is escaped."""

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

TEMPLATES = "templates"


@dataclass(frozen=True)
class Drawing:
    """A figure with its words."""

    title: str
    caption: str
    svg: str


def render(template: str, page: object) -> str:
    """The template filled with `page`; a name that the page lacks is an error."""
    environment = Environment(
        loader=PackageLoader("pipeline.reporting", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = files("pipeline.reporting").joinpath(TEMPLATES, "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(page=page, style=style)
