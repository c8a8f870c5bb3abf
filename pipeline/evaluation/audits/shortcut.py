"""Does the model read how a scan was made instead of what it shows?

(a) available: acquisition alone tells the label, judged on all patients by regressions that never saw them. A note on
    the cohort, never an alarm: a good model may leave it alone.
(b) followed: within each class the model's logit depends on acquisition, beyond the severity that the cohort states.
(c) needless body: with the body masked out of its input the model still tells the label.
(d) acquired again: noise, resolution or bias, changed by simulation, move the logits as far as acquisitions differ.

`used`, the alarm, takes (c), or (b) with severity stated, or (b) with (d). Sites whose patients are more or less ill
look the same as (b) alone: such a model `cannot be told from case mix`. p-values are adjusted over what may raise the
alarm (Holm).

The AUROC within kinds of acquisition, over all pairs, and where all kinds have one prevalence say what acquisition
adds to the AUROC. They and the size of the files, which may follow the disease itself, are shown and never counted.

All work on a table with a row a patient: `is_positive`, `class` (one of several where the rest is more than one),
`part` (fold or test), `kind` of acquisition, and `acquisition`, `file_size`, `logit` and `masked`, scores that are NaN
where there are none. Scores that were fitted to the labels of this table come with the AUROCs that the same fits to
shuffled labels reach.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd

from pipeline.evaluation.audits.dependence import AurocByKind, auroc_by_kind, kinds_of_acquisition, measure_dependence
from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import NUM_SHUFFLES, auroc_p_value, aurocs, p_value
from pipeline.evaluation.audits.stability import Reacquired, measure_reacquired
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.sample import Array, varies
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

SHARE_LEFT = 0.5
"""Of dependence, that severity, stated with errors, must leave; and of two acquisitions' difference, to be reached."""


@dataclass(frozen=True)
class Part:
    """One of the questions; what is None has a reason."""

    value: float | None = None
    """AUROC, or for (b) the multiple correlation within classes."""
    p_value: float | None = None
    adjusted_p_value: float | None = None
    num_patients: int = 0
    reason: str | None = None
    low: float | None = None
    high: float | None = None
    shift: float | None = None
    """Of (b), as `Dependence` has it."""

    def is_shown(self, level: float) -> bool:
        return self.adjusted_p_value is not None and self.adjusted_p_value < level


@dataclass(frozen=True)
class ShortcutContext:
    """What is known beside the table; patients are the index of each."""

    features: pd.DataFrame | None = None
    """Of how the scans were made."""
    severity: pd.DataFrame | None = None
    """Of how ill the patients are, as the cohort states it."""
    changed: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Logits of the scans as they are, `UNCHANGED`, and acquired again, a column each."""


NOTHING = ShortcutContext()


@dataclass(frozen=True)
class Found:
    """What the verdict rests on."""

    parts: dict[str, Part]
    """`followed` and `without_body`, which may raise the alarm."""
    available: Part
    unadjusted: Part | None
    """`followed` without regard to severity; None where none is stated."""
    moved: list[Reacquired]
    """Simulated acquisitions that move the logits as far as real ones differ."""
    by_kind: AurocByKind | None

    @property
    def exceeds_severity(self) -> bool:
        """Does stated severity leave most of the dependence?"""
        before, after = (part.shift if part else None for part in (self.unadjusted, self.parts["followed"]))
        return before is not None and after is not None and after >= SHARE_LEFT * before


def audit_shortcut(
    patients: pd.DataFrame,
    refitted: Mapping[str, Array],
    beside: ShortcutContext = NOTHING,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
    *,
    level: float = LEVEL,
) -> AuditFinding:
    """All parts and what they mean together; `refitted` has AUROCs on shuffled labels, by fitted score."""
    generator = np.random.default_rng(seed)

    def ranking(score: str) -> Part:
        return judge_ranking(patients, score, refitted.get(score), num_shuffles, generator)

    followed, unadjusted = judge_following(patients, beside, num_shuffles, generator)
    parts = adjusted({"followed": followed, "without_body": ranking("masked")})
    notes = {"available": ranking("acquisition"), "file_size": ranking("file_size")}
    reacquired = measure_reacquired(beside.changed, patients["is_positive"])
    by_kind = judge_auroc(patients, generator)
    metrics = {name: asdict(part) for name, part in (parts | notes).items()} | {
        "followed_unadjusted": asdict(unadjusted) if unadjusted else None,
        "auroc_by_kind": asdict(by_kind) if by_kind else None,
        "reacquired": [asdict(change) for change in reacquired],
    }
    if all(part.value is None for part in parts.values()):
        return replace(use_not_assessed(notes["available"], followed.reason, level), metrics=metrics)
    moved = [change for change in reacquired if is_as_far(change, followed, level)]
    found = Found(parts, notes["available"], unadjusted, moved, by_kind)
    return AuditFinding(**verdict(found, level), metrics=metrics)


def judge_ranking(
    patients: pd.DataFrame, score: str, refitted: Array | None, num_shuffles: int, generator: np.random.Generator
) -> Part:
    """Does a score, such as `acquisition` or `masked`, rank patients by their label?

    `refitted` has AUROCs of the same fit to shuffled labels; a score without it was not fitted to these labels.
    """
    known = patients[patients[score].notna()]
    problem = reason_unavailable(known, score)
    if problem:
        return Part(num_patients=len(known), reason=problem)
    labels, scores, parts = (known[name].to_numpy() for name in ("is_positive", score, "part"))
    value = float(aurocs(labels[:, None], scores[:, None], parts)[0])
    if refitted is not None:
        return Part(value, p_value(value, refitted), num_patients=len(known))
    return Part(value, auroc_p_value(labels, scores, parts, num_shuffles, generator), num_patients=len(known))


def judge_following(
    patients: pd.DataFrame, beside: ShortcutContext, num_shuffles: int, generator: np.random.Generator
) -> tuple[Part, Part | None]:
    """How far the logit follows acquisition within each class: beyond stated severity if there is any, and without."""
    known = patients[patients["logit"].notna()]
    if beside.features is None:
        return Part(reason=MISSING["acquisition"]), None
    problem = reason_unavailable(known, "logit")
    if problem:
        return Part(num_patients=len(known), reason=problem), None
    plain = dependence_of(known, beside.features, None, num_shuffles, generator)
    stated = stated_severity(known, beside.severity)
    if stated is None:
        return plain, None
    return dependence_of(known.loc[stated.index], beside.features, stated, num_shuffles, generator), plain


def dependence_of(
    known: pd.DataFrame,
    features: pd.DataFrame,
    severity: pd.DataFrame | None,
    num_shuffles: int,
    generator: np.random.Generator,
) -> Part:
    of_patients = features.reindex(known.index)
    # An ordinary value stands in for a missing one, so that it says nothing.
    columns = of_patients.fillna(of_patients.median()).fillna(0).to_numpy()
    classes, parts, logits = (known[name].to_numpy() for name in ("class", "part", "logit"))
    given = None if severity is None else severity.to_numpy()
    found = measure_dependence(classes, parts, logits, columns, num_shuffles, generator, given)
    if found is None:
        return Part(num_patients=len(known), reason="within classes, acquisition or the logit does not vary")
    return Part(num_patients=len(known), **asdict(found))


def stated_severity(known: pd.DataFrame, severity: pd.DataFrame | None) -> pd.DataFrame | None:
    """Severity of the patients whose severity is known; None where it says nothing, or is known of too few."""
    if severity is None:
        return None
    stated = severity.reindex(known.index).dropna()
    classes = known.loc[stated.index, "is_positive"]
    few = min(classes.sum(), (~classes).sum()) < FEWEST_PATIENTS
    return None if few or not (stated.groupby(classes).nunique() > 1).any(axis=None) else stated


def judge_auroc(patients: pd.DataFrame, generator: np.random.Generator) -> AurocByKind | None:
    """AUROC over all pairs, and over those of one kind of acquisition."""
    known = patients[patients["logit"].notna()]
    if len(known) and known["kind"].notna().all():
        kinds = pd.factorize(known["kind"])[0]
    else:
        known = known[known["acquisition"].notna()]
        kinds = kinds_of_acquisition(known["acquisition"].to_numpy(), known["part"].to_numpy())
    if reason_unavailable(known, "logit") or len(np.unique(kinds)) < 2:
        return None
    labels, logits, parts = (known[name].to_numpy() for name in ("is_positive", "logit", "part"))
    return auroc_by_kind(labels, logits, parts, kinds, generator)


def is_as_far(change: Reacquired, followed: Part, level: float) -> bool:
    """Does a simulated acquisition move the logits about as far as two kinds of acquisition differ?"""
    if followed.shift is None or change.adjusted_p_value >= level:
        return False
    return abs(change.shift) >= SHARE_LEFT * followed.shift


def reason_unavailable(known: pd.DataFrame, score: str) -> str | None:
    """What keeps a score from being judged."""
    if known.empty:
        return MISSING[score]
    fewest = min(known["is_positive"].sum(), (~known["is_positive"]).sum())
    if fewest < FEWEST_PATIENTS:
        return f"{fewest} patients of a class, this takes {FEWEST_PATIENTS}"
    if known.groupby("part")["is_positive"].nunique().max() < 2:
        return "no fold holds both classes"
    if not varies(known[score].to_numpy(), known["part"].to_numpy()):
        return CONSTANT[score]
    return None


MISSING = {
    "acquisition": "no column says how the scans were made",
    "file_size": "the files' sizes are not known",
    "logit": "no predictions",
    "masked": "the scans show no empty space around the body that could be left over",
}
CONSTANT = {
    "acquisition": "all scans were made alike",
    "file_size": "all files have the same size",
    "logit": "every prediction is the same",
    "masked": "without the body every prediction is the same",
}


def adjusted(parts: dict[str, Part]) -> dict[str, Part]:
    """The parts with Holm's p-values over those that were judged."""
    judged = [name for name, part in parts.items() if part.p_value is not None]
    found = holm(np.array([parts[name].p_value for name in judged]))
    return parts | {
        name: replace(parts[name], adjusted_p_value=float(p)) for name, p in zip(judged, found, strict=True)
    }


USED = "shortcut used"
CASE_MIX = "cannot be told from case mix"
AVAILABLE = "available, use not found"
NONE_FOUND = "none found"


def verdict(found: Found, level: float) -> dict[str, object]:
    """One of the four above, with the reasons."""
    followed, without_body = (
        part if (part := found.parts[name]).is_shown(level) else None for name in ("followed", "without_body")
    )
    is_available = found.available.p_value is not None and found.available.p_value < level
    said = []
    if is_available:
        said.append(about_availability(found.available))
    if followed:
        said += [about_following(followed, found), *about_auroc(found.by_kind)]
    if followed and found.moved:
        said.append(about_reacquired(found.moved))
    if without_body:
        said.append(f"With the body masked out the model still tells the label (AUROC {without_body.value:.3f}).")
    if without_body or (followed and (found.moved or found.exceeds_severity)):
        return {"verdict": USED, "is_alarm": True, "summary": " ".join(said)}
    if followed:
        remedy = SEVERITY_EXPLAINS if found.unadjusted else SEVERITY_UNKNOWN
        return {"verdict": CASE_MIX, "is_alarm": False, "summary": " ".join([*said, remedy])}
    if is_available:
        return {"verdict": AVAILABLE, "is_alarm": False, "summary": " ".join([*said, NOT_USED])}
    return {"verdict": NONE_FOUND, "is_alarm": False, "summary": NO_SIGN}


NOT_USED = "The model is not shown to follow it within a class, which few patients cannot exclude."
NO_SIGN = "No sign of a shortcut among those that were looked for, which few patients cannot exclude."
SEVERITY_UNKNOWN = (
    "Patients who are more ill where scans are made so would look the same: name columns of the patients' severity in "
    "columns.severity to tell these apart."
)
SEVERITY_EXPLAINS = "The stated severity explains most of it; what is left may be severity that is stated with errors."


def use_not_assessed(available: Part, reason: str, level: float) -> AuditFinding:
    """Where nothing says whether the model uses acquisition, which may tell the label all the same."""
    finding = not_assessed(reason)
    if available.p_value is None or available.p_value >= level:
        return finding
    summary = f"{about_availability(available)} Whether the model uses it is not assessed: {reason}."
    return replace(finding, verdict="available, use not assessed", summary=summary)


def about_availability(available: Part) -> str:
    return f"How the scans were made tells the label by itself (AUROC {available.value:.3f})."


def about_following(part: Part, found: Found) -> str:
    beyond = ", beyond the stated severity," if found.unadjusted else ""
    return (
        f"Within each class the model's answer depends on how the scan was made{beyond} with a correlation of "
        f"{part.value:.2f} ({part.low:.2f} to {part.high:.2f})."
    )


def about_auroc(by_kind: AurocByKind | None) -> list[str]:
    if by_kind is None:
        return []
    return [f"Its AUROC is {by_kind.auroc:.3f}, and {by_kind.auroc_within:.3f} among scans that were made alike."]


def about_reacquired(moved: list[Reacquired]) -> str:
    shifts = ", ".join(f"{change.name} {change.shift:+.2f}" for change in moved)
    return f"Scans that are acquired again by simulation move the logit as far (standard deviations: {shifts})."
