"""Render the pages of a report: each is one HTML file that needs no other, with the sections of the registry."""

from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import pipeline.reporting.sections  # noqa: F401 - registers the sections
from pipeline.reporting.inputs import ReportInputs
from pipeline.reporting.section import Page, Section, sections_of

TEMPLATES = "templates"
INDEX_LINK, COHORT_LINK = ("index.html", "All experiments"), ("cohort.html", "The cohort")
MACROS = '{% from "macros.html.j2" import diagram, figure, missing, plain_table, statements %}'


@dataclass(frozen=True)
class Heading:
    """Title and subtitle of a page; `connective` is set in a lighter color."""

    first: str
    connective: str
    last: str
    subtitle: str
    links: tuple[tuple[str, str], ...]
    """(address, text) of other pages."""


@dataclass(frozen=True)
class RenderedSection:
    name: str
    title: str
    html: Markup


def experiment_html(inputs: ReportInputs) -> str:
    """The page of the experiment `inputs.run`."""
    run, config = inputs.run, inputs.config
    heading = Heading(run.name, "on", config.cohort.name, experiment_subtitle(inputs), (INDEX_LINK,))
    return render_page("experiment", heading, inputs)


def cohort_html(inputs: ReportInputs) -> str:
    cohort, classes = inputs.config.cohort, inputs.cohort.classes
    subtitle = f"{cohort.modality}, {len(classes)} classes: {', '.join(classes)}."
    return render_page("cohort", Heading("Cohort", cohort.name, "", subtitle, (INDEX_LINK,)), inputs)


def index_html(inputs: ReportInputs) -> str:
    """The page that compares all experiments."""
    cohort = inputs.config.cohort
    subtitle = f"{len(inputs.runs)} experiments, {cohort.modality}."
    return render_page("index", Heading("Experiments", "on", cohort.name, subtitle, (COHORT_LINK,)), inputs)


def experiment_subtitle(inputs: ReportInputs) -> str:
    run, config = inputs.run, inputs.config
    model = ((run.config or {}).get("model") or {}).get("name", config.model.name)
    seeds = f", each with {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    known = f" of {inputs.cohort.num_folds}" if inputs.cohort.num_folds else ""
    return f"{model}, {config.cohort.modality}; {len(config.folds)}{known} folds trained{seeds}."


def render_page(page: Page, heading: Heading, inputs: ReportInputs) -> str:
    """The page with all its sections."""
    environment = make_environment()
    rendered = [render_section(environment, section, inputs) for section in sections_of(page)]
    style = files("pipeline.reporting").joinpath(TEMPLATES, "style.css").read_text(encoding="utf-8")
    template = environment.get_template("page.html.j2")
    return template.render(heading=heading, sections=[each for each in rendered if each], style=style)


def render_section(environment: Environment, section: Section, inputs: ReportInputs) -> RenderedSection | None:
    """None for a section without content that names nothing missing."""
    content = section.read(inputs)
    if content is None and not section.missing:
        return None
    source = "{{ missing(content) }}" if content is None else section.template
    template = environment.from_string(MACROS + source)
    confidence = f"{inputs.config.evaluation.confidence:.0%}"
    html = template.render(content=section.missing if content is None else content, confidence=confidence)
    return RenderedSection(section.name, section.title, Markup(html))


def make_environment() -> Environment:
    """Text from data is escaped; a name that a template uses and the content lacks is an error."""
    return Environment(
        loader=PackageLoader("pipeline.reporting", TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
