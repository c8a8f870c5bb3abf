"""Compare the setting that the plan makes of nothing but `auto` with five settings made by hand.

    python benchmarks/planning.py --folder runs/planning --minutes 4

Each call goes on where the last one stopped, until its minutes are over: a finished run is kept and skipped. Once all
are there it prints a table and, as its last line, one JSON object. In all it takes about an hour on one core.

Every figure comes from the pipeline's own stages, run on two cohorts: hippocampus (HIPPOCAMPUS names its folder) and
a phantom of coarse scans. A seed has a fold of its own, so that three seeds validate three sets of patients; the
locked test sets are not predicted. The score is the validation AUROC over scans of the best epoch: settings that are
trained by gradient choose among their epochs on the very patients they are judged on, the plan's frozen one does not,
so the comparison leans towards the settings made by hand. It leans the other way in that these have few epochs and a
coarse grid, alike for all and affordable, while the plan takes its own; and in that the plan's features were chosen on
the same hippocampus scans, divided otherwise. The phantom's patients are new, and 90 validate each fold, to keep
chance small against the bar.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.config.load import load_config  # noqa: E402
from pipeline.core.io import write_text  # noqa: E402
from pipeline.core.paths import TrainingKey  # noqa: E402

REPOSITORY = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
EPOCHS = 4
BAR = -0.03
CONFIDENCE = 0.90
FINISHED = "finished.txt"
"""The command whose results lie beside it."""
FEATURES = "encoder:efficientnet_lite0"


@dataclass(frozen=True)
class Task:
    """A cohort, its overrides, and the preparation that a person might choose for it."""

    cohort: list[str]
    auto: list[str]
    by_hand: list[str]


@dataclass(frozen=True)
class Setting:
    """An experiment file and what is changed in it."""

    config: str
    words: tuple[str, ...] = ()
    is_auto: bool = False


TASKS = {
    "hippocampus": Task(
        cohort=["cohort.split.seed=1", "cohort.split.test_fraction=0.1"],
        auto=[],
        by_hand=["cohort.preprocess.spacing_mm=[2,2,2]", "cohort.preprocess.size_voxels=[24,32,24]"],
    ),
    "phantom": Task(
        cohort=[
            "cohort.source.num_patients=300",
            "cohort.source.coarsen=2",
            "cohort.source.seed=20",
            "cohort.split.test_fraction=0.1",
            f"cohort.split.num_folds={len(SEEDS)}",
        ],
        auto=["cohort.preprocess.spacing_mm=auto", "cohort.preprocess.size_voxels=auto"],
        by_hand=["cohort.preprocess.spacing_mm=[7,7,7]", "cohort.preprocess.size_voxels=[24,32,24]"],
    ),
}
TRAINED = (f"training.max_epochs={EPOCHS}",)
SLICES = "model.volume={mode: slicewise, step: 3, pooling: attention}"
MEAN = "model.volume={mode: slicewise, pooling: mean, chunk_slices: 16}"
SETTINGS = {
    "auto": Setting("auto.yaml", is_auto=True),
    "3D PoolFormer-S12": Setting(
        "3d_poolformer.yaml",
        ("model.name=poolformer_s12", "model.options.stem_stride=2", "augmentation.strength=light", *TRAINED),
    ),
    "slice-wise ResNet-18": Setting("2d_resnet.yaml", ("model.options={}", *TRAINED)),
    "small 3D ResNet": Setting(
        "2d_resnet.yaml",
        (
            "model.volume=null",
            "model.options={spatial_dims: 3, depths: [1, 1, 1, 1]}",
            "augmentation.strength=none",
            "training.learning_rate=1e-3",
            *TRAINED,
        ),
    ),
    "fine-tuned EfficientNet": Setting(
        "2d_frozen.yaml", (SLICES, "model.freeze=false", "training.batch_size=4", "training.accumulate=1", *TRAINED)
    ),
    "frozen EfficientNet, mean": Setting("2d_frozen.yaml", (MEAN,)),
}


class Runs:
    """All runs below a folder; `deadline` is when no further command is started, in time.monotonic()'s seconds."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.folder = folder
        self.deadline = deadline

    def root(self, is_auto: bool) -> Path:
        """Where the two preparations lie apart."""
        return self.folder / ("auto" if is_auto else "by_hand")

    def scores(self, cohort: str, setting: Setting, name: str) -> list[float]:
        """Validation AUROC of each seed, training what is missing."""
        self.prepare(cohort, setting.is_auto)
        return [self.score(cohort, setting, name.replace(" ", "_").replace(",", ""), seed) for seed in SEEDS]

    def score(self, cohort: str, setting: Setting, name: str, seed: int) -> float:
        """Of the best epoch."""
        root = self.root(setting.is_auto)
        folder = root / "runs" / cohort / name / TrainingKey(seed, seed).name
        words = [*TASKS[cohort].cohort, f"seed={seed}", f"fold={seed}", f"name={name}", "tracking.mode=none"]
        line = ["--config", setting.config, *words, *setting.words]
        if not is_finished(folder, line):
            self.command("train", cohort, root, *line)
            write_text(folder / FINISHED, "\n".join(line))
        return float(pd.read_csv(folder / "history.csv")["val_auroc"].max())

    def prepare(self, cohort: str, is_auto: bool) -> None:
        """From the source to the store; both preparations have the same scans and splits."""
        task, root = TASKS[cohort], self.root(is_auto)
        folder, words = root / "data" / cohort, [*task.cohort, *(task.auto if is_auto else task.by_hand)]
        if is_finished(folder, words):
            return
        if is_auto:
            for verb in ("fetch", "ingest", "split"):
                self.command(verb, cohort, root, *task.cohort)
        else:
            self.prepare(cohort, is_auto=True)
            source = self.root(is_auto=True) / "data" / cohort
            leave_out = shutil.ignore_patterns("preprocessed", "features", "plan.yaml", FINISHED)
            shutil.copytree(source, folder, symlinks=True, ignore=leave_out, dirs_exist_ok=True)
        for verb in ("plan", "preprocess"):
            self.command(verb, cohort, root, *words)
        write_text(folder / FINISHED, "\n".join(words))

    def command(self, verb: str, cohort: str, root: Path, *words: str) -> None:
        """What `python -m pipeline.<verb>` does, without starting anew; exits where time is over."""
        if time.monotonic() > self.deadline:
            sys.exit("time is over; the same command goes on from here")
        config, words = (words[1], words[2:]) if words[:1] == ("--config",) else ("auto.yaml", words)
        stage = getattr(import_module(f"pipeline.{verb}"), verb)
        stage(load_config(config, [f"cohort={cohort}", f"root={root}", *words]))


def is_finished(folder: Path, line: list[str]) -> bool:
    """Whether this very command has ended well before."""
    path = folder / FINISHED
    return path.is_file() and path.read_text(encoding="utf-8").split("\n") == line


def lower_bound(differences: np.ndarray) -> float:
    """One-sided, from Student's t over the seeds."""
    error = stats.sem(differences)
    return float(differences.mean() + stats.t.ppf(1 - CONFIDENCE, len(differences) - 1) * error)


def compare(cohort: str, runs: Runs) -> dict[str, object]:
    """Print the scores of a cohort; the ratio against the best setting made by hand."""
    scores = {name: np.array(runs.scores(cohort, setting, name)) for name, setting in SETTINGS.items()}
    print(f"{cohort:28}{'seeds':>21}{'mean':>9}{'auto minus it':>15}{f'{CONFIDENCE:.0%} lower':>11}")
    for name, found in scores.items():
        rest = scores["auto"] - found
        bound = "" if name == "auto" else f"{rest.mean():15.3f}{lower_bound(rest):11.3f}"
        print(f"  {name:26}{' '.join(f'{score:6.3f}' for score in found):>21}{found.mean():9.3f}{bound}")
    best = max((name for name in scores if name != "auto"), key=lambda name: scores[name].mean())
    bound = lower_bound(scores["auto"] - scores[best])
    return {"value": round(bound, 4), "against": best, "bar": f"> {BAR}", "holds": bound > BAR}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "planning", help="where runs are kept")
    parser.add_argument("--minutes", type=float, default=60, help="no command is started after so many")
    arguments = parser.parse_args()
    runs = Runs(arguments.folder.resolve(), time.monotonic() + 60 * arguments.minutes)
    os.chdir(REPOSITORY)
    ratios = {f"auto_minus_best_{cohort}": compare(cohort, runs) for cohort in TASKS}
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    print(json.dumps({"benchmark": "planning", "ratios": ratios, "machine": machine}))


if __name__ == "__main__":
    main()
