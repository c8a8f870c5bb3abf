"""The page of one experiment."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.core.columns import TEST
from pipeline.evaluation.curves import OPERATING_POINTS
from pipeline.evaluation.one_vs_rest import OF_LABEL
from pipeline.reporting.figures import history_figure
from pipeline.reporting.inputs import CohortFacts, RunFacts
from pipeline.reporting.labels import SPLIT_NAMES, statements
from pipeline.reporting.page import Drawing, render
from pipeline.reporting.sections import cohort as cohort_part
from pipeline.reporting.sections import decision as frozen_part
from pipeline.reporting.sections import record as record_part
from pipeline.reporting.sections import result as result_part
from pipeline.reporting.sections.checks import (
    AuditPart,
    BaselineRow,
    SubgroupPart,
    audit_part,
    audit_statements,
    baseline_rows,
    baseline_statements,
    subgroup_part,
)
from pipeline.reporting.sections.cohort import Table
from pipeline.reporting.sections.decision import ModelPart, OperatingPart, model_part, operating_part
from pipeline.reporting.sections.flow_diagram import Diagram, flow_diagram


@dataclass(frozen=True)
class Explanation:
    """A picture as a data URI, None where its file is missing."""

    image: str | None
    caption: str


@dataclass(frozen=True)
class ExperimentPage:
    """What report.html.j2 fills in."""

    experiment: str
    cohort: str
    subtitle: str
    summary: str
    confidence: str
    cards: list[result_part.Card]
    statements: list[tuple[str, str]]
    figures: list[Drawing]
    decision: str
    calibration: str
    conformal: str
    metric_tables: list[result_part.MetricTable]
    operating: OperatingPart | None
    models: ModelPart | None
    audits: AuditPart | None
    floors: list[BaselineRow]
    subgroups: SubgroupPart | None
    explanations: list[Explanation]
    flow: Diagram | None
    cohort_notes: list[str]
    split_table: Table | None
    plan: list[record_part.PlanRow]
    history: Drawing | None
    provenance: list[tuple[str, str]]
    config: str | None


def experiment_html(run: RunFacts, cohort: CohortFacts, config: Config) -> str:
    """The page as text."""
    return render("report.html.j2", experiment_page(run, cohort, config))


def experiment_page(run: RunFacts, cohort: CohortFacts, config: Config) -> ExperimentPage:
    confidence = config.evaluation.confidence
    audits = audit_part(run.audits, run.doubtful_labels)
    said = statements(run.headline, run.headline_split, confidence) + baseline_statements(run.floors)
    return ExperimentPage(
        experiment=run.name,
        cohort=config.cohort.name,
        subtitle=subtitle(run, cohort, config),
        summary=summary(run),
        confidence=f"{confidence:.0%}",
        cards=result_part.cards(run.headline),
        statements=audit_statements(audits) + said + cohort_part.leak_statements(cohort.leakage),
        figures=result_part.result_figures(run, config.evaluation.calibration_bins),
        decision=frozen_part.decision_words(run),
        calibration=frozen_part.calibration_words(run),
        conformal=frozen_part.conformal_words(run),
        metric_tables=result_part.metric_tables(run),
        operating=operating_part(run.plots.get(OPERATING_POINTS)),
        models=model_part(run.models),
        audits=audits,
        floors=baseline_rows(run.floors),
        subgroups=subgroup_part(run.subgroups),
        explanations=[explanation(entry, run.explanations_folder) for entry in run.explanations or []],
        flow=flow_diagram(cohort_part.flow(cohort)),
        cohort_notes=cohort_part.notes(cohort),
        split_table=cohort_part.split_table(cohort),
        plan=record_part.plan_rows(cohort.plan),
        history=history(run),
        provenance=record_part.provenance(run, config.root),
        config=record_part.config_text(run.config),
    )


def subtitle(run: RunFacts, cohort: CohortFacts, config: Config) -> str:
    model = ((run.config or {}).get("model") or {}).get("name", config.model.name)
    times = f", each with {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    known = f" of {cohort.num_folds}" if cohort.num_folds else ""
    return f"{model}, {config.cohort.modality}; {len(config.folds)}{known} folds trained{times}."


def summary(run: RunFacts) -> str:
    """Who the headline is about."""
    words = f"Judged on the {SPLIT_NAMES[run.headline_split]}, one decision a {run.headline_level}"
    if "scores" not in run.plots or OF_LABEL in run.plots["scores"]:
        return f"{words}."
    counts = run.plots["scores"]["label"].value_counts(sort=False)
    units = result_part.UNITS[run.headline_level]
    classes = ", ".join(f"{count} {name}" for name, count in counts.items())
    return f"{words}: {counts.sum()} {units}, {classes}.{looks(run)}"


def looks(run: RunFacts) -> str:
    """How often this test set was judged, by any experiment."""
    if run.headline_split != TEST or run.looks < 2:
        return ""
    return f" {run.looks} different sets of predictions of this test set have been looked at, over all experiments."


def history(run: RunFacts) -> Drawing | None:
    if not run.histories:
        return None
    caption = "Solid lines are validation, dashed ones training; the best epoch's weights are the ones judged."
    return Drawing("Loss and validation AUROC", caption, history_figure(run.histories))


def explanation(entry: dict[str, Any], folder: Path) -> Explanation:
    picture = folder / Path(entry["picture"]).name
    image = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else None
    verdict = "right" if entry["label"] == entry["predicted"] else "wrong"
    caption = (
        f"Scan {entry['scan_id']}: named {entry['predicted']} with a probability of {entry['probability']:.2f}, "
        f"truly {entry['label']} ({verdict}); {entry['method']} for {entry['explained']}."
    )
    return Explanation(f"data:image/png;base64,{image}" if image else None, caption)
