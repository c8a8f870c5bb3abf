"""Every addition that docs/extending.md shows works as a plugin, as it is printed there."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from pipeline.core.io import read_json
from tests.conftest import REPOSITORY, Commands
from tests.tracking.offline import OfflineRun

PAGE = (REPOSITORY / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CHECK = """
import numpy as np
import pandas as pd
import torch

from pipeline.config import Training
from pipeline.core.registry import load_plugins

load_plugins([f"addition_{number}" for number in range(NUMBER)])

from pipeline.training.losses import build_loss
training = Training(loss="poly", loss_options={"epsilon": 2.0})
logits, labels = torch.tensor([[0.3, -0.2], [1.0, 2.0]]), torch.tensor([0, 1])
entropy = torch.nn.functional.cross_entropy(logits, labels)
found = build_loss(training, "binary", [3, 4], 7)(logits, labels)
torch.testing.assert_close(found, entropy + 2 * (1 - (-entropy).exp()))

from pipeline.evaluation.outputs import evaluate_task
from pipeline.evaluation.registry import metric_title
from pipeline.evaluation.settings import Settings
rng = np.random.default_rng(0)
probs = rng.uniform(size=60)
table = pd.DataFrame({"scan_id": [f"s{i}" for i in range(60)], "patient_id": [f"p{i}" for i in range(60)], "fold": 0,
    "seed": 0, "split": ["val"] * 30 + ["test"] * 30, "label": ["a", "b"] * 30, "prob_a": 1 - probs, "prob_b": probs})
found = evaluate_task(table, Settings(num_bootstrap=100)).metrics["test"]["scan"]["mean_probability"]
assert abs(found["value"] - probs[30:].mean()) < 1e-6, found
assert metric_title("mean_probability") == "Mean probability of the positive class"

from pipeline.data.augmentation.pipeline import augmentation_transforms
from pipeline.data.augmentation.registry import AugmentationSettings
settings = AugmentationSettings(strength="strong", spacing_mm=(1.0, 1.0, 1.0), is_mr=True)
(invert,) = [t for t in augmentation_transforms(settings).transforms if t.entry.name == "invert"]
volume = torch.rand(4, 5, 6)
torch.testing.assert_close(invert.change(volume, rng), volume.min() + volume.max() - volume)

import pipeline.reporting.pages
from pipeline.reporting.section import SECTIONS
assert "nobody" in SECTIONS.get("funding").read(None)

from pipeline.explanation.saliency import METHODS
evidence = METHODS.get("intensity").function(None, torch.rand(1, 1, 4, 4, 4), 0)
assert evidence.max() == 1 and evidence.min() >= 0

from pipeline.config.source import SOURCES
assert SOURCES.get("archive").title == "Our archive"
print("all", NUMBER, "additions work")
"""


def test_every_addition_of_the_page_works_as_a_plugin(tmp_path: Path) -> None:
    assert len(BLOCKS) == 6
    for number, block in enumerate(BLOCKS):
        (tmp_path / f"addition_{number}.py").write_text(block)
    (tmp_path / "check_additions.py").write_text(CHECK.replace("NUMBER", str(len(BLOCKS))))
    done = Commands(tmp_path).python("-m", "check_additions")
    assert done.returncode == 0 and f"all {len(BLOCKS)} additions work" in done.stdout, done.stderr


THEIR_METRIC = """
from pipeline.evaluation.registry import METRICS


@METRICS.register("mean_probability", title="Mean probability of the positive class", summary=True)
def mean_probability(weighted):
    return weighted.mean(weighted.sample.probs[:, -1])
"""


@pytest.mark.slow
def test_a_metric_from_outside_reaches_the_metrics_the_summary_of_dvc_the_report_and_wandb(
    finished: Path, tmp_path: Path
) -> None:
    project = Path(shutil.copytree(finished, tmp_path / "project", symlinks=True))
    (project / "their_metrics.py").write_text(THEIR_METRIC)
    config = project / "configs" / "tiny.yaml"
    config.write_text(f"plugins: [their_metrics]\n{config.read_text()}")
    for verb in ("evaluate", "report", "track"):
        Commands(project)(verb)

    run = project / "runs" / "cubes" / "tiny"
    predicted = pd.read_csv(run / "predictions" / "fold-0-seed-0.csv").query("split == 'test'")
    expected = predicted.groupby("patient_id")["prob_cube"].mean().mean()
    entry = read_json(run / "evaluation" / "metrics.json")["test"]["patient"]["mean_probability"]
    assert entry["value"] == pytest.approx(expected, abs=1e-9)
    assert read_json(run / "evaluation" / "summary.json")["test"]["mean_probability"] == entry["value"]
    page = (project / "reports" / "cubes" / "tiny.html").read_text()
    assert "Mean probability of the positive class" in page and f"{entry['value']:.3f}" in page
    run_id = json.loads((run / "fold-0-seed-0" / "tracking.json").read_text())["run_id"]
    assert OfflineRun(project, run_id).summary["test/patient/mean_probability"] == entry["value"]
