"""Sections of the index page: all experiments beside each other, what they show, and whether they differ."""

from dataclasses import dataclass

from pipeline.config import Config
from pipeline.evaluation.comparison import Comparison, compare_experiments
from pipeline.evaluation.metrics import metric_title
from pipeline.evaluation.settings import Settings
from pipeline.reporting.findings import headline_statements
from pipeline.reporting.formatting import SPLIT_NAMES, Entry, format_p_value, interval, number
from pipeline.reporting.inputs import ReportInputs, RunInputs
from pipeline.reporting.plots import forest_figure
from pipeline.reporting.section import SECTIONS, Figure, Statement

COLUMNS = ("auroc", "average_precision", "brier_score", "brier_skill_score", "accuracy")
EXPERIMENTS_TEMPLATE = """
{% if content.forest %}<div class="wide">{{ figure(content.forest) }}</div>{% endif %}
<div class="scroll"><table>
<caption>Each value with its {{ confidence }} interval. Accuracy means something only if it exceeds its baseline,
always naming the most common class.</caption>
<thead><tr><th scope="col">Experiment</th><th scope="col">Evaluated on</th><th scope="col" class="num">Patients</th>
{% for name in content.columns %}<th scope="col" class="num">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in content.rows %}
<tr><th scope="row"><a href="{{ row.link }}">{{ row.name }}</a></th><td>{{ row.evaluated_on }}</td>
<td class="num">{{ row.num_patients }}</td>
{% for cell in row.cells %}
<td class="num">{{ cell.value }}<br><span class="muted">{{ cell.range }}{% if cell.note %}<br>{{ cell.note }}
{% endif %}</span></td>
{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
"""
FINDINGS_TEMPLATE = "{% for name, found in content %}<h3>{{ name }}</h3>{{ statements(found) }}{% endfor %}"
COMPARISON_TEMPLATE = """
{% if content.rows %}
<p>Compared in pairs on the same validation patients, so that a choice between them does not use the test set. The first
two experiments are the comparison declared in advance; the others are adjusted for their number.</p>
<div class="scroll"><table>
<caption>Difference of the AUROCs, first minus second, paired and clustered by patient; difference of the accuracies
with McNemar's test, at thresholds frozen on validation.</caption>
<thead><tr><th scope="col">Pair</th><th scope="col" class="num">Difference</th>
<th scope="col" class="num">{{ confidence }} interval</th><th scope="col" class="num">p</th>
<th scope="col" class="num">Difference of accuracies</th><th scope="col">In words</th></tr></thead>
<tbody>{% for row in content.rows %}<tr><th scope="row">{{ row.pair }}</th><td class="num">{{ row.difference }}</td>
<td class="num">{{ row.range }}</td><td class="num">{{ row.p_value }}</td>
<td class="num">{{ row.accuracy }}</td><td>{{ row.summary }}</td></tr>{% endfor %}</tbody>
</table></div>
{% else %}{{ missing(content.reason) }}{% endif %}
"""


@dataclass(frozen=True)
class Cell:
    value: str
    range: str
    note: str


@dataclass(frozen=True)
class ExperimentRow:
    name: str
    link: str
    evaluated_on: str
    num_patients: int
    cells: list[Cell]


@dataclass(frozen=True)
class Experiments:
    forest: Figure | None
    columns: list[str]
    rows: list[ExperimentRow]


@SECTIONS.register("experiments", title="Results", page="index", template=EXPERIMENTS_TEMPLATE)
def read_experiments(inputs: ReportInputs) -> Experiments:
    columns = [metric_title(name) for name in COLUMNS]
    return Experiments(forest(inputs.runs), columns, [experiment_row(run) for run in inputs.runs])


def forest(runs: tuple[RunInputs, ...]) -> Figure | None:
    """The AUROC of each experiment that has an interval."""
    entries = [(run.name, run.headline["auroc"]) for run in runs]
    rows = [(name, entry["value"], entry["low"], entry["high"]) for name, entry in entries if entry["low"] is not None]
    if not rows:
        return None
    return Figure("AUROC", "Value and interval; the dotted line is chance.", forest_figure(rows))


def experiment_row(run: RunInputs) -> ExperimentRow:
    return ExperimentRow(
        name=run.name,
        link=f"{run.name}.html",
        evaluated_on=f"{SPLIT_NAMES[run.headline_split]}, by {run.headline_level}",
        num_patients=run.headline["auroc"]["num_patients"],
        cells=[metric_cell(name, run.headline) for name in COLUMNS],
    )


def metric_cell(name: str, headline: dict[str, Entry]) -> Cell:
    """A value with its interval; accuracy has its baseline too."""
    entry = headline[name]
    if entry["value"] is None:
        return Cell("undefined", entry["reason"], "")
    baseline = f"baseline {number(headline['majority_baseline']['value'])}" if name == "accuracy" else ""
    return Cell(number(entry["value"]), "" if entry["low"] is None else interval(entry), baseline)


@SECTIONS.register("findings", title="What the results show", page="index", template=FINDINGS_TEMPLATE)
def read_findings(inputs: ReportInputs) -> list[tuple[str, list[Statement]]]:
    confidence = inputs.config.evaluation.confidence
    return [(run.name, headline_statements(run.headline, run.headline_split, confidence)) for run in inputs.runs]


@dataclass(frozen=True)
class ComparisonRow:
    pair: str
    difference: str
    range: str
    p_value: str
    accuracy: str
    summary: str


@dataclass(frozen=True)
class Comparisons:
    rows: list[ComparisonRow]
    reason: str
    """Why there are no rows."""


@SECTIONS.register("comparison", title="Do they differ?", page="index", template=COMPARISON_TEMPLATE)
def read_comparisons(inputs: ReportInputs) -> Comparisons:
    found = compare(inputs.runs, inputs.config)
    if isinstance(found, str):
        return Comparisons([], found)
    return Comparisons([comparison_row(pair) for pair in found], "")


def compare(runs: tuple[RunInputs, ...], config: Config) -> list[Comparison] | str:
    """All pairs, or the reason why they cannot be compared."""
    tables = {run.name: run.predictions for run in runs if run.predictions is not None}
    if len(tables) < 2:
        return "a comparison; it needs two experiments with predictions."
    try:
        return compare_experiments(tables, Settings(task=config.cohort.task, **config.evaluation.model_dump()))
    except ValueError as error:
        return f"a comparison: {error}"


def comparison_row(pair: Comparison) -> ComparisonRow:
    return ComparisonRow(
        pair=f"{pair.first} versus {pair.second}" + (" (primary)" if pair.is_primary else ""),
        difference=number(pair.difference),
        range="" if pair.low is None else f"{number(pair.low)} to {number(pair.high)}",
        p_value=format_p_value(pair.adjusted_p_value),
        accuracy=f"{number(pair.accuracy_difference)} (p {format_p_value(pair.accuracy_p_value)})",
        summary=pair.describe(),
    )
