"""The compare command on revisions of a real git and DVC repository."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tests.conftest import Commands

pytestmark = pytest.mark.slow
TABLE = Path("runs/cubes/tiny/predictions/fold-0-seed-0.csv")


def predictions(signal: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth, rows = np.arange(160) % 2, np.arange(160)
    probs = 1 / (1 + np.exp(-(rng.normal(size=160) + signal * (truth - 0.5))))
    names = [f"{row:03d}" for row in rows]
    return pd.DataFrame(
        {
            "scan_id": names,
            "patient_id": names,
            "fold": 0,
            "split": np.where(rows < 80, "val", "test"),
            "label": np.array(["plain", "cube"])[truth],
            "prob_plain": 1 - probs,
            "prob_cube": probs,
        }
    )


@pytest.fixture
def revisions(command: Commands) -> Commands:
    """Two commits: a model that guesses, then a good one, its table only in DVC's cache."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    command.run(["git", "init", "--quiet"])
    command.dvc("init", "--quiet")
    for signal in (0.2, 4.0):
        (command.folder / TABLE).parent.mkdir(parents=True, exist_ok=True)
        predictions(signal).to_csv(command.folder / TABLE, index=False)
        command.dvc("add", "--quiet", str(TABLE))
        command.run([*git, "add", "--all"])
        command.run([*git, "commit", "--quiet", "--message", f"signal {signal}"])
    return command


def test_revisions_are_compared_on_validation_and_each_look_at_test_is_counted(revisions):
    (revisions.folder / TABLE).unlink()
    said = revisions("compare", "HEAD", "HEAD~1")
    aurocs = [
        roc_auc_score(table["label"] == "cube", table["prob_cube"])
        for table in (predictions(4.0)[:80], predictions(0.2)[:80])
    ]
    assert "Primary comparison: HEAD versus HEAD~1" in said.stdout
    assert (
        f"Of these fitted models HEAD ranks patients better than HEAD~1, by {aurocs[0] - aurocs[1]:.3f}" in said.stdout
    )
    assert "look" not in said.stderr
    looked = revisions("compare", "HEAD", "HEAD~1", "--split", "test")
    assert "evaluation 1 of" in looked.stderr and "evaluation 2 of" in looked.stderr
    predictions(4.0).to_csv(revisions.folder / TABLE, index=False)
    same = revisions("compare", "workspace", "HEAD")
    assert "No difference between these fitted models can be tested" in same.stdout.replace("\n", " ")


def test_an_unknown_revision_and_a_single_one_are_clear_errors(revisions):
    unknown = revisions("compare", "HEAD", "nowhere", check=False)
    assert unknown.returncode == 1 and unknown.stderr.startswith("error: nowhere: its predictions cannot be read")
    alone = revisions("compare", "HEAD", check=False)
    assert "expected two revisions or more, got HEAD" in alone.stderr
