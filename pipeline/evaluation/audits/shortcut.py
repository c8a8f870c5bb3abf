"""Does the model read how a scan was made instead of what it shows?

(a) available: acquisition alone tells the label, judged on all patients by regressions that never saw them.
(b) used: within each class the model's logit follows the score of (a), and its AUROC falls among patients whose
    acquisition is alike.
(c) needless body: with the body masked out of its input the model still tells the label.

`used` takes (a) and (b), or (c). Anything else that is found makes a shortcut `possible`. p-values are adjusted over
the three (Holm); a fall alone says little, so it is asked for beside (b), never counted by itself.

The size of the files is judged beside them and never counted: a compressed file is as large as what it shows is rich,
so its size may follow the disease itself.

All work on a table with a row a patient: `is_positive`, `part` (fold or test), and `acquisition`, `file_size`, `logit`
and `masked`, scores that are NaN where there are none. Scores that were fitted to the labels of this table come with
the AUROCs that the same fits to shuffled labels reach.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import NUM_SHUFFLES, auroc_p_value, aurocs, p_value, shuffled_rows
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.sample import Array, varies
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

NUM_STRATA = 3
"""Kinds of acquisition that the patients of a part are divided into, alike in number."""


@dataclass(frozen=True)
class Part:
    """One of the three questions; what is None has a reason."""

    value: float | None = None
    """AUROC, or for (b) the rank correlation within classes."""
    p_value: float | None = None
    adjusted_p_value: float | None = None
    num_patients: int = 0
    reason: str | None = None

    def is_shown(self, level: float) -> bool:
        return self.adjusted_p_value is not None and self.adjusted_p_value < level


@dataclass(frozen=True)
class Fall:
    """AUROC of the model among all patients, and among those of like acquisition."""

    auroc: float
    auroc_within: float
    p_value: float

    def is_shown(self, level: float) -> bool:
        return self.p_value < level


def audit_shortcut(
    patients: pd.DataFrame,
    refitted: Mapping[str, Array],
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
    *,
    level: float = LEVEL,
) -> AuditFinding:
    """All three parts and what they mean together; `refitted` has AUROCs on shuffled labels, by fitted score."""
    generator = np.random.default_rng(seed)

    def ranking(score: str) -> Part:
        return judge_ranking(patients, score, refitted.get(score), num_shuffles, generator)

    follows, fall = judge_following(patients, num_shuffles, generator)
    parts = adjusted(
        {
            "available": ranking("acquisition"),
            "followed": follows,
            "without_body": ranking("masked"),
        }
    )
    beside = {"file_size": ranking("file_size")}
    metrics = {name: asdict(part) for name, part in (parts | beside).items()} | {"fall": asdict(fall) if fall else None}
    if all(part.value is None for part in parts.values()):
        return replace(not_assessed(parts["available"].reason), metrics=metrics)
    return AuditFinding(**verdict(parts, fall, level), metrics=metrics)


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
    patients: pd.DataFrame, num_shuffles: int, generator: np.random.Generator
) -> tuple[Part, Fall | None]:
    """Does the logit follow acquisition within each class, and does its AUROC fall where acquisition is alike?"""
    known = patients[patients["acquisition"].notna() & patients["logit"].notna()]
    problem = reason_unavailable(patients[patients["acquisition"].notna()], "acquisition") or reason_unavailable(
        known, "logit"
    )
    if problem:
        return Part(num_patients=len(known), reason=problem), None
    labels, parts = known["is_positive"].to_numpy(), known["part"].to_numpy()
    acquisition, logits = known["acquisition"].to_numpy(), known["logit"].to_numpy()
    strata = pd.factorize(pd.MultiIndex.from_arrays([labels, parts]))[0]
    rows = shuffled_rows(strata, num_shuffles, generator)
    ranks, followed = centered_ranks(logits, strata), centered_ranks(acquisition, strata)
    scale = np.sqrt((ranks**2).sum() * (followed**2).sum())
    if scale == 0:
        return Part(num_patients=len(known), reason="within classes, acquisition or the logit does not vary"), None
    correlation = float(ranks @ followed / scale)
    found = p_value(correlation, ranks @ followed[rows] / scale)
    return Part(correlation, found, num_patients=len(known)), judge_fall(labels, logits, parts, acquisition, rows)


def judge_fall(labels: Array, logits: Array, parts: Array, acquisition: Array, rows: Array) -> Fall | None:
    """AUROC within kinds of acquisition, against the same with acquisition shuffled by `rows` (n, R)."""
    kinds = kinds_of_acquisition(acquisition, parts)
    observed = aurocs_within(labels, logits, parts, kinds[:, None])[0]
    if np.isnan(observed):
        return None
    shuffled = aurocs_within(labels, logits, parts, kinds[rows])
    auroc = float(aurocs(labels[:, None], logits[:, None], parts)[0])
    return Fall(auroc, float(observed), p_value(-observed, -shuffled[np.isfinite(shuffled)]))


def aurocs_within(labels: Array, logits: Array, parts: Array, kinds: Array) -> Array:
    """(R,) AUROC over pairs of the same part and kind, for each column of `kinds` (n, R); NaN without such pairs."""
    wins, pairs = np.zeros(kinds.shape[1]), np.zeros(kinds.shape[1])
    for part in np.unique(parts):
        positives, negatives = (np.flatnonzero((parts == part) & rows) for rows in (labels, ~labels))
        won = (np.sign(logits[positives][:, None] - logits[negatives]) + 1) / 2
        for kind in range(NUM_STRATA):
            of_positives, of_negatives = kinds[positives] == kind, kinds[negatives] == kind
            wins += (of_positives * (won @ of_negatives)).sum(0)
            pairs += of_positives.sum(0) * of_negatives.sum(0)
    with np.errstate(invalid="ignore"):
        return wins / pairs


def kinds_of_acquisition(acquisition: Array, parts: Array) -> Array:
    """(n,) from 0: which third of its part's scores each patient is in; equal scores stay together."""
    kinds = np.empty(len(parts), dtype=int)
    for part in np.unique(parts):
        rows = parts == part
        share = (rankdata(acquisition[rows]) - 0.5) / rows.sum()
        kinds[rows] = np.minimum((share * NUM_STRATA).astype(int), NUM_STRATA - 1)
    return kinds


def centered_ranks(values: Array, strata: Array) -> Array:
    """(n,) rank within the stratum, from -1/2 to 1/2, so that large strata count by their number alone."""
    ranks = np.empty(len(values))
    for stratum in np.unique(strata):
        rows = strata == stratum
        ranks[rows] = (rankdata(values[rows]) - (rows.sum() + 1) / 2) / rows.sum()
    return ranks


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


def verdict(parts: dict[str, Part], fall: Fall | None, level: float) -> dict[str, object]:
    """`used`, `possible` or `not found`, with the reasons."""
    available, followed, without_body = (
        parts[name] if parts[name].is_shown(level) else None for name in ("available", "followed", "without_body")
    )
    fallen = fall if fall is not None and fall.is_shown(level) else None
    said = []
    if available:
        said.append(f"How the scans were made tells the label by itself (AUROC {available.value:.3f}).")
    if followed:
        said.append(about_following(followed, fallen))
    if without_body:
        said.append(f"With the body masked out the model still tells the label (AUROC {without_body.value:.3f}).")
    if without_body or (available and followed and fallen):
        return {"verdict": USED, "is_alarm": True, "summary": " ".join(said)}
    if available or followed:
        return {"verdict": "shortcut possible", "is_alarm": True, "summary": " ".join([*said, NOT_USED])}
    return {"verdict": "none found", "is_alarm": False, "summary": NONE_FOUND}


USED = "shortcut used"
NOT_USED = "That the model uses it is not shown, nor is it excluded."
NONE_FOUND = "No sign of a shortcut among those that were looked for, which few patients cannot exclude."


def about_following(part: Part, fallen: Fall | None) -> str:
    follows = f"Within each class the model's answer follows how the scan was made (rank correlation {part.value:.2f})"
    if fallen is None:
        return f"{follows}."
    return (
        f"{follows}, and its AUROC falls from {fallen.auroc:.3f} to {fallen.auroc_within:.3f} among patients whose "
        "scans were made alike."
    )
