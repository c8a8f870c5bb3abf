"""Findings about a result in sentences: what it shows, and what casts doubt on it."""

from typing import Any

import pandas as pd

from pipeline.evaluation.audits.shortcut import CASE_MIX, USED
from pipeline.evaluation.registry import INTENDED, USABLE, WITHOUT_TWINS
from pipeline.reporting.formatting import Entry, interval, number, span
from pipeline.reporting.section import Statement

Json = dict[str, Any]
MAX_INTERVAL_WIDTH = 0.2
"""A wider interval of the AUROC calls for a caution."""


def headline_statements(headline: dict[str, Entry], split: str, confidence: float) -> list[Statement]:
    """What the headline metrics show and do not show."""
    found = [about_chance(headline["auroc"], confidence), about_baseline(headline)]
    found += [about_calibration(headline), about_precision(headline["auroc"]), about_power(headline)]
    found += [about_near_twins(headline), about_failed_scans(headline)]
    if split == "val":
        found.append(
            (
                "caution",
                "These are validation patients: epoch and threshold were chosen on them, so the "
                "metrics are optimistic. No test set was predicted.",
            )
        )
    return [sentence for sentence in found if sentence]


def first_look_statements(trained: set[int], num_folds: int | None) -> list[Statement]:
    """A caution where one fold of several was trained; of no training, nothing is known."""
    if num_folds is None or num_folds < 2 or len(trained) != 1:
        return []
    return [
        (
            "caution",
            f"A first look: one of {num_folds} folds was trained, so epoch, threshold and calibration come from the "
            f"validation patients of fold {min(trained)} alone. Train all folds before you rely on them.",
        )
    ]


def encoder_statements(config: Json | None) -> list[Statement]:
    """A caution for each pretrained encoder of a run's config that may have seen the cohort's patients."""
    config = config or {}
    model, overlap = config.get("model") or {}, (config.get("cohort") or {}).get("encoder_overlap") or {}
    members = (model.get("options") or {}).get("members") or {}
    used = [str(each.get("pretrained") or "").removeprefix("encoder:") for each in (model, *members.values())]
    return [
        (
            "caution",
            f"The encoder {name} was trained on patients, and whether some of these are among them is unknown. Metrics "
            "of patients that it has seen are optimistic.",
        )
        for name in dict.fromkeys(used)
        if overlap.get(name) == "unknown"
    ]


def about_chance(auroc: Entry, confidence: float) -> Statement:
    if auroc["value"] is None:
        return "bad", f"The AUROC is undefined: {auroc['reason']}."
    if auroc["low"] is None:
        return "caution", f"The AUROC has no interval: {auroc['reason']}. Whether it beats chance is unknown."
    if auroc["low"] > 0.5:
        return "good", (
            f"The model ranks patients better than chance: the {confidence:.0%} interval of the AUROC is above 0.5."
        )
    if auroc["high"] < 0.5:
        return "bad", (
            "The model ranks patients worse than chance: look for swapped classes or a cohort that differs "
            "between splits."
        )
    return "bad", (
        f"Not shown to beat chance: the {confidence:.0%} interval of the AUROC, {interval(auroc)}, includes 0.5."
    )


def about_baseline(headline: dict[str, Entry]) -> Statement | None:
    accuracy, baseline = headline["accuracy"], headline["majority_baseline"]["value"]
    if accuracy["value"] is None or baseline is None:
        return "caution", f"Accuracy is undefined: {accuracy['reason']}."
    if accuracy["value"] < baseline:
        return "bad", (
            f"Accuracy is below the baseline: {number(accuracy['value'])} against {number(baseline)} for always "
            "naming the most common class. At this threshold accuracy is no evidence of use."
        )
    if accuracy["low"] is None or accuracy["low"] <= baseline:
        return "caution", (
            f"Accuracy, {number(accuracy['value'])}, is not shown to beat its baseline of {number(baseline)}, "
            "which is always naming the most common class."
        )
    return "good", f"Accuracy, {number(accuracy['value'])}, exceeds its baseline of {number(baseline)}."


def about_calibration(headline: dict[str, Entry]) -> Statement | None:
    slope = headline.get("calibration_slope")
    if slope is None or slope["low"] is None:
        return None
    if slope["high"] < 1:
        return "caution", (
            f"Probabilities are overconfident (calibration slope {number(slope['value'], 2)}): "
            "read them as a ranking, or use the calibrated ones."
        )
    if slope["low"] > 1:
        return "caution", (
            f"Probabilities are underconfident (calibration slope {number(slope['value'], 2)}): "
            "the classes are more certain than the probabilities state."
        )
    return None


def about_precision(auroc: Entry) -> Statement | None:
    if auroc["low"] is None or auroc["high"] - auroc["low"] <= MAX_INTERVAL_WIDTH:
        return None
    return "caution", (
        f"The interval of the AUROC is {number(auroc['high'] - auroc['low'], 2)} wide: "
        f"{auroc['num_patients']} patients show little more than the direction."
    )


def about_power(headline: dict[str, Entry]) -> Statement | None:
    smallest = headline.get("auroc_minimum_detectable_difference", {"value": None})
    if smallest["value"] is None:
        return None
    return "caution", (
        f"With these {smallest['num_patients']} patients a difference between the AUROCs of two models below "
        f"{number(smallest['value'])} would often be missed."
    )


def about_near_twins(headline: dict[str, Entry]) -> Statement | None:
    """What is left where test patients show what training showed."""
    auroc, rest = headline["auroc"], headline.get(f"{WITHOUT_TWINS}auroc")
    if rest is None or rest["value"] is None:
        return None
    return "caution", (
        f"{auroc['num_patients'] - rest['num_patients']} of {auroc['num_patients']} test patients have a near twin in "
        f"training. Without them the AUROC is {number(rest['value'])}, {interval(rest)}."
    )


def about_failed_scans(headline: dict[str, Entry]) -> Statement | None:
    usable = headline.get(USABLE)
    if usable is None or usable["value"] is None or usable["value"] == 1:
        return None
    intended = headline.get(f"{INTENDED}accuracy", {"value": None})
    wrong = f" Counted as wrong, they leave an accuracy of {number(intended['value'])}." if intended["value"] else ""
    return "caution", f"{1 - usable['value']:.1%} of the cohort have no usable scan and are in no other figure.{wrong}"


def audit_statements(audits: Json | None) -> list[Statement]:
    """Findings that cast doubt on the result, shown beside it."""
    return [("bad", audit["summary"]) for name, audit in (audits or {}).items() if severity_of(name, audit) == "bad"]


def severity_of(name: str, audit: Json) -> str:
    if audit["is_alarm"] is None:
        return "unknown"
    if not audit["is_alarm"]:
        return "caution" if CASE_MIX in audit["verdict"] else "good"
    return "bad" if USED in audit["verdict"] or name == "chance" else "caution"


def baseline_statements(table: pd.DataFrame | None) -> list[Statement]:
    """Cautions where a simple predictor is good, or the model is not shown to beat it."""
    rows = [] if table is None else table.to_dict("records")
    return [("caution", sentence) for row in rows if (sentence := baseline_caution(row))]


def baseline_caution(row: dict[str, object]) -> str | None:
    if row["name"] == "acquisition" and row["low"] > 0.5:
        auroc = f"AUROC {number(row['auroc'])}, {span(row['low'], row['high'])}"
        return (
            f"How the scans were acquired predicts the label by itself ({auroc}): a shortcut is available to the "
            "model, and may be used."
        )
    if row["low"] > 0.5 and row["advantage_low"] <= 0:
        return (
            f"The model is not shown to beat a logistic regression on {row['name']}, which reaches an AUROC of "
            f"{number(row['auroc'])}."
        )
    return None


MAX_LEAKS = 10
"""More accepted leaks of a kind are only counted."""


def leak_statements(leakage: Json | None) -> list[Statement]:
    """Each leak across the split: accepted by its code, or still open; many accepted ones of a kind in one sentence.

    Older scans in a test set by date are said too.
    """
    across = [entry for entry in (leakage or {}).get("findings", []) if entry["across_splits"]]
    accepted: dict[str, list[Json]] = {}
    for entry in across:
        if entry["accepted"]:
            accepted.setdefault(entry["kind"], []).append(entry)
    statements = [sentence for kind, entries in accepted.items() for sentence in accepted_statements(kind, entries)]
    return [
        *statements,
        *(("caution", f"{note}.") for note in (leakage or {}).get("notes", [])),
        *(("bad", f"Open leak {entry['code']}: {entry['message']}.") for entry in across if not entry["accepted"]),
    ]


def accepted_statements(kind: str, entries: list[Json]) -> list[Statement]:
    if len(entries) > MAX_LEAKS:
        reasons = "; ".join(sorted({entry["reason"] for entry in entries if entry.get("reason")}))
        why = f" Reason given: {reasons}." if reasons else ""
        return [("caution", f"{len(entries)} leaks of the kind {kind} across splits were accepted.{why}")]
    return [("caution", f"Accepted leak {entry['code']}: {entry['message']}{because(entry)}.") for entry in entries]


def because(entry: Json) -> str:
    return f" ({entry['reason']})" if entry.get("reason") else ""
