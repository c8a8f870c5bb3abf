import numpy as np
import pandas as pd
import pytest

from benchmarks.audits import Cell, run_cell
from pipeline.evaluation.audits.shortcut import ShortcutContext, audit_shortcut


def made(
    seed: int = 0, patients: int = 150, known: float = 0.0, used: float = 0.0, masked: float = 0.0
) -> tuple[pd.DataFrame, ShortcutContext]:
    """`known` says how far acquisition follows the label, `used` how far the logit follows acquisition beyond it."""
    rng = np.random.default_rng(seed)
    is_positive = rng.random(patients) < 0.4
    part = rng.integers(-1, 4, patients)
    acquisition = known * is_positive + rng.normal(size=patients).round(1)
    table = pd.DataFrame(
        {
            "is_positive": is_positive,
            "class": is_positive,
            "part": part,
            "kind": np.nan,
            "acquisition": acquisition,
            "file_size": np.nan,
            "logit": 1.5 * is_positive + rng.normal(size=patients) + used * acquisition,
            "masked": np.where(part < 2, masked * is_positive + rng.normal(size=patients), np.nan),
        }
    )
    return table, ShortcutContext(features=pd.DataFrame({"dose": acquisition}))


def stated(table: pd.DataFrame, beside: ShortcutContext, seed: int = 0) -> ShortcutContext:
    """With a severity that has to do with the label alone."""
    severity = table["is_positive"] + np.random.default_rng([seed, 1]).normal(size=len(table))
    return ShortcutContext(beside.features, pd.DataFrame({"stage": severity}))


def test_a_model_that_follows_acquisition_beyond_stated_severity_uses_the_shortcut():
    table, beside = made(known=2.0, used=1.5)
    found = audit_shortcut(table, {}, stated(table, beside))
    assert found.verdict == "shortcut used" and found.is_alarm
    assert "beyond the stated severity" in found.summary
    by_kind = found.metrics["auroc_by_kind"]
    assert by_kind["auroc_within"] < by_kind["auroc"] and by_kind["low"] > 0


def test_without_stated_severity_following_acquisition_cannot_be_told_from_case_mix():
    found = audit_shortcut(*with_refits(made(known=2.0, used=1.5)))
    assert found.verdict == "cannot be told from case mix" and found.is_alarm is False
    assert "columns.severity" in found.summary and "tells the label by itself" in found.summary


def with_refits(tables: tuple[pd.DataFrame, ShortcutContext]) -> tuple[pd.DataFrame, dict, ShortcutContext]:
    return tables[0], {}, tables[1]


def test_stated_severity_that_explains_the_dependence_raises_no_alarm():
    """The logit follows the dose because patients who are more ill get more of it."""
    table, beside = made(used=1.5)
    severity = pd.DataFrame({"stage": table["acquisition"] + 0.3 * np.random.default_rng(1).normal(size=len(table))})
    found = audit_shortcut(table, {}, ShortcutContext(beside.features, severity))
    assert found.is_alarm is False
    assert found.metrics["followed_unadjusted"]["p_value"] < 0.025
    assert found.metrics["followed"]["shift"] < found.metrics["followed_unadjusted"]["shift"] / 2


@pytest.mark.parametrize("severity", [np.nan, 1.0])
def test_severity_that_says_nothing_is_not_stated(severity):
    table, beside = made(used=1.5)
    empty = pd.DataFrame({"stage": np.full(len(table), severity)})
    assert audit_shortcut(table, {}, ShortcutContext(beside.features, empty)).verdict == "cannot be told from case mix"


def test_scans_acquired_again_tell_a_shortcut_from_case_mix_if_they_move_the_logit_as_far_as_acquisitions_differ():
    table, beside = made(used=1.0)
    for moved, verdict in ((1.5, "shortcut used"), (0.1, "cannot be told from case mix")):
        rows = table.iloc[:40]
        noise = 0.3 * np.random.default_rng(3).normal(size=len(rows))
        again = pd.DataFrame({"none": rows["logit"], "noisier": rows["logit"] + noise + moved})
        found = audit_shortcut(table, {}, ShortcutContext(beside.features, changed=again))
        assert found.verdict == verdict
        shift = found.metrics["reacquired"][0]["shift"] * rows.groupby("is_positive")["logit"].std().mean()
        assert shift == pytest.approx(moved, abs=0.2)


def test_scans_that_move_prove_nothing_where_the_model_does_not_follow_acquisition():
    table, beside = made()
    again = pd.DataFrame({"none": table["logit"], "noisier": table["logit"] + 2 + 0.1 * table["acquisition"]})
    assert audit_shortcut(table, {}, ShortcutContext(beside.features, changed=again)).verdict == "none found"


def test_acquisition_that_tells_the_label_is_a_note_and_no_alarm():
    found = audit_shortcut(*with_refits(made(known=2.0)))
    assert found.verdict == "available, use not found" and found.is_alarm is False
    assert found.metrics["available"]["p_value"] < 0.025 <= found.metrics["followed"]["p_value"]


def test_a_label_told_without_the_body_is_a_shortcut_used_whatever_acquisition_says():
    table, _ = made(masked=2.0)
    found = audit_shortcut(table.assign(acquisition=np.nan), {})
    assert found.verdict == "shortcut used"
    assert found.metrics["available"]["reason"] == "no column says how the scans were made"


def test_the_size_of_files_is_shown_and_never_counted():
    table, beside = made()
    found = audit_shortcut(table.assign(file_size=table["is_positive"].astype(float)), {}, beside)
    assert found.metrics["file_size"]["value"] == 1 and found.verdict == "none found"


@pytest.mark.parametrize(
    "cell",
    [Cell(100), Cell(100, prevalence_differs=True), Cell(100, severity=1.0, equal_prevalence=True)],
    ids=lambda cell: cell.name,
)
def test_clean_cohorts_raise_an_alarm_in_at_most_five_percent(cell):
    """The full table is `benchmarks/audits.py`'s; of 25 studies at 2.5 % one in a thousand has over 3."""
    found = run_cell(cell, range(25), seed=1)
    assert found["alarm"] <= 3
    assert found["case_mix"] > 20 if cell.severity else found["case_mix"] <= 3


def test_detection_rises_with_the_planted_effect():
    found = [run_cell(Cell(100, planted, beside="severity stated"), range(12), seed=1) for planted in (0.25, 0.5, 1.5)]
    alarms = [row["alarm"] for row in found]
    assert alarms[0] < alarms[1] < alarms[2] and alarms[2] >= 11


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"acquisition": 1.0}, "all scans were made alike"),
        ({"logit": np.nan}, "no predictions"),
        ({"masked": 0.0}, "without the body every prediction is the same"),
        ({"masked": np.nan}, "no empty space"),
    ],
)
def test_what_cannot_be_judged_says_why(change, reason):
    table, beside = made()
    figures = audit_shortcut(table.assign(**change), {}, beside).metrics
    parts = (figures[name] for name in ("available", "followed", "without_body"))
    assert any(reason in (part["reason"] or "") for part in parts)


def test_with_few_patients_of_a_class_nothing_is_judged():
    found = audit_shortcut(*with_refits(made(patients=12)))
    assert found.is_alarm is None and "this takes 10" in found.reason


def test_what_tells_the_label_of_few_patients_is_named_though_its_use_cannot_be_judged():
    table, beside = made(patients=60, known=4.0)
    few = table.assign(logit=table["logit"].where(table.index < 15), masked=np.nan)
    found = audit_shortcut(few, {}, beside)
    assert found.is_alarm is None and found.verdict == "available, use not assessed"
    assert "tells the label by itself" in found.summary and "this takes 10" in found.summary
