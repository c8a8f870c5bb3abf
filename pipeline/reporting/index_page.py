"""The page that compares experiments."""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.evaluation.comparison import Comparison, compare_experiments
from pipeline.evaluation.settings import Settings
from pipeline.reporting.figures import forest_figure
from pipeline.reporting.inputs import RunFacts
from pipeline.reporting.labels import SPLIT_NAMES, Entry, interval, metric_name, number, statements
from pipeline.reporting.page import Drawing, render
from pipeline.reporting.text_tables import p_words

COLUMNS = ("auroc", "average_precision", "balanced_accuracy", "accuracy", "brier_score")


@dataclass(frozen=True)
class Cell:
    value: str
    range: str
    note: str


@dataclass(frozen=True)
class ExperimentRow:
    name: str
    link: str
    judged_on: str
    num_patients: int
    cells: list[Cell]
    statements: list[tuple[str, str]]


@dataclass(frozen=True)
class ComparisonRow:
    pair: str
    difference: str
    range: str
    p_value: str
    accuracy: str
    words: str


@dataclass(frozen=True)
class IndexPage:
    """What index.html.j2 fills in."""

    cohort: str
    subtitle: str
    confidence: str
    forest: Drawing | None
    columns: list[str]
    rows: list[ExperimentRow]
    comparisons: list[ComparisonRow]
    no_comparison: str


def index_html(runs: list[RunFacts], config: Config) -> str:
    """The page as text."""
    found = compare(runs, config)
    comparisons, reason = ([], found) if isinstance(found, str) else (found, "")
    confidence = config.evaluation.confidence
    return render(
        "index.html.j2",
        IndexPage(
            cohort=config.cohort.name,
            subtitle=f"{len(runs)} experiments, {config.cohort.modality}.",
            confidence=f"{confidence:.0%}",
            forest=forest(runs),
            columns=[metric_name(name) for name in COLUMNS],
            rows=[experiment_row(run, confidence) for run in runs],
            comparisons=[comparison_row(found) for found in comparisons],
            no_comparison=reason,
        ),
    )


def forest(runs: list[RunFacts]) -> Drawing | None:
    """AUROC of each experiment, where it has an interval."""
    entries = [(run.name, run.headline["auroc"]) for run in runs]
    rows = [(name, entry["value"], entry["low"], entry["high"]) for name, entry in entries if entry["low"] is not None]
    if not rows:
        return None
    return Drawing("AUROC", "Value and interval; the dotted line is chance.", forest_figure(rows))


def experiment_row(run: RunFacts, confidence: float) -> ExperimentRow:
    return ExperimentRow(
        name=run.name,
        link=f"{run.name}.html",
        judged_on=f"{SPLIT_NAMES[run.headline_split]}, by {run.headline_level}",
        num_patients=run.headline["auroc"]["num_patients"],
        cells=[cell(name, run.headline) for name in COLUMNS],
        statements=statements(run.headline, run.headline_split, confidence),
    )


def cell(name: str, headline: dict[str, Entry]) -> Cell:
    """A value with its interval; accuracy says its floor too."""
    entry = headline[name]
    if entry["value"] is None:
        return Cell("undefined", entry["reason"], "")
    floor = f"floor {number(headline['majority_floor']['value'])}" if name == "accuracy" else ""
    return Cell(number(entry["value"]), "" if entry["low"] is None else interval(entry), floor)


def compare(runs: list[RunFacts], config: Config) -> list[Comparison] | str:
    """All pairs, or why they cannot be compared."""
    tables = {run.name: run.predictions for run in runs if run.predictions is not None}
    if len(tables) < 2:
        return "a comparison; it takes two experiments with their predictions."
    try:
        return compare_experiments(tables, Settings(task=config.cohort.task, **config.evaluation.model_dump()))
    except ValueError as error:
        return f"a comparison: {error}"


def comparison_row(found: Comparison) -> ComparisonRow:
    return ComparisonRow(
        pair=f"{found.first} against {found.second}" + (" (primary)" if found.is_primary else ""),
        difference=number(found.difference),
        range="" if found.low is None else f"{number(found.low)} to {number(found.high)}",
        p_value=p_words(found.adjusted_p_value),
        accuracy=f"{number(found.accuracy_difference)} (p {p_words(found.accuracy_p_value)})",
        words=found.in_words(),
    )
