"""Hold every experiment of configs/ and MONAI's DenseNet121 against each other, cross-validated on the same patients.

    HIPPOCAMPUS=/path/to/hippocampus MEDMNIST_ROOT=/path/to/medmnist python -m benchmarks.accuracy --minutes 60
    python -m benchmarks.accuracy --cohorts phantom --methods 2d_frozen 3d_poolformer --table

Each call goes on where the last one stopped, until its minutes are over; a folder that is copied to another machine
goes on there. `--table` only writes the table of what is there, benchmarks/results/accuracy.csv: a row a cohort and
method, and 'not run' where folds are missing.

Only development patients take part: the locked test set of a cohort is taken out before anything is planned. Each of
their five folds is judged once by a training that has never seen it: the next fold validates and picks the epoch, the
other three train. So every method, MONAI's too, chooses its epochs inside the training part. A patient's scans are
averaged; the AUROC compares patients within a fold, its interval and the paired difference are Obuchowski's, and the
seeds of a method are averaged before. `labels permuted` trains 2d_frozen on the labels of other patients and should be
near one half.
"""

import argparse
import hashlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.accuracy_cohorts import COHORTS, FOLDS, PERMUTED_METHOD, config_of, prepare, stage  # noqa: E402
from pipeline.core.columns import FOLD, LABEL, PATIENT_ID, SCAN_ID, SPLIT, TEST  # noqa: E402
from pipeline.core.folds import read_splits, rows_of_fold  # noqa: E402
from pipeline.core.io import read_json, write_csv, write_json  # noqa: E402
from pipeline.core.paths import Artifacts, CohortPaths, TrainingKey  # noqa: E402
from pipeline.core.provenance import git_revision  # noqa: E402
from pipeline.evaluation.uncertainty.auc_variance import clustered_auroc  # noqa: E402
from pipeline.evaluation.uncertainty.intervals import logit_interval, normal_quantile  # noqa: E402

MONAI, PERMUTED = "monai_densenet121", "labels permuted"
NOT_EXPERIMENTS = ("sweep",)
CONFIDENCE = 0.95
SCORE = "score"
"""Column with the probability of the positive class."""
RESULTS = REPOSITORY / "benchmarks" / "results" / "accuracy.csv"
COLUMNS = (
    *("cohort", "method", "status", "seeds", "num_patients", "auroc", "low", "high"),
    *("minus_monai", "minus_monai_low", "minus_monai_high", "accuracy", "majority_share"),
    *("seconds_per_training", "parameters", "data_md5", "commit", "command"),
)


@dataclass(frozen=True)
class Trial:
    """One training and its judgment: a method on a cohort, with the fold that is held out."""

    cohort: str
    method: str
    outer: int
    seed: int

    @property
    def fold(self) -> int:
        """Its number among nested folds: the next part validates."""
        others = [part for part in range(FOLDS) if part != self.outer]
        return self.outer * (FOLDS - 1) + others.index((self.outer + 1) % FOLDS)

    def path(self, folder: Path) -> Path:
        """Predictions of the held-out scans; the record of the training lies beside them."""
        name = self.method.replace(" ", "_")
        return folder / "held_out" / self.cohort / name / f"part-{self.outer}-seed-{self.seed}.csv"


def methods() -> list[str]:
    """Every experiment of configs/, MONAI's network, and the check by permuted labels."""
    experiments = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.yaml"))
    return [*(name for name in experiments if name not in NOT_EXPERIMENTS), MONAI, PERMUTED]


class Runs:
    """All trials below a folder; `deadline` is when no further one is started, in time.monotonic()'s seconds."""

    def __init__(self, folder: Path, deadline: float) -> None:
        self.folder = folder
        self.deadline = deadline

    def run(self, trial: Trial) -> None:
        """Train and judge unless done before; exits where time is over."""
        if trial.path(self.folder).exists():
            return
        if time.monotonic() > self.deadline:
            sys.exit("time is over; the same command goes on from here")
        prepare(trial.cohort, self.folder)
        start = time.perf_counter()
        table, parameters = (run_monai if trial.method == MONAI else run_experiment)(trial, self.folder)
        record = {"seconds": round(time.perf_counter() - start, 1), "parameters": parameters}
        record |= {"commit": git_revision(REPOSITORY), "command": f"python -m {' '.join(command_words())}"}
        trial.path(self.folder).parent.mkdir(parents=True, exist_ok=True)
        write_json(trial.path(self.folder).with_suffix(".json"), record)
        write_csv(trial.path(self.folder), table)


def command_words() -> list[str]:
    return ["benchmarks.accuracy", *map(shlex.quote, sys.argv[1:])]


def run_experiment(trial: Trial, folder: Path) -> tuple[pd.DataFrame, int]:
    """Train and predict with the pipeline's own stages; the held-out rows with their true labels, and parameters."""
    from pipeline.training.checkpoint import TrainedCheckpoint

    is_permuted = trial.method == PERMUTED
    root = folder / "permuted" if is_permuted else folder
    name = PERMUTED_METHOD if is_permuted else trial.method
    config = config_of(name, trial.cohort, root, f"fold={trial.fold}", f"seed={trial.seed}")
    for verb in ("train", "predict"):
        stage(verb)(config)
    run, key = Artifacts(root).run(trial.cohort, name), TrainingKey(trial.fold, trial.seed)
    predictions = pd.read_csv(run.predictions(key), dtype={SCAN_ID: str, PATIENT_ID: str, LABEL: str})
    held_out = predictions[predictions[SPLIT] == TEST]
    weights = TrainedCheckpoint.read(run.training(key).best).state_dict
    table = held_out_table(trial, folder, held_out[SCAN_ID], held_out.iloc[:, -1])
    return table, sum(weight.numel() for weight in weights.values())


def run_monai(trial: Trial, folder: Path) -> tuple[pd.DataFrame, int]:
    """MONAI's DenseNet121 by the recipe of its tutorial, from raw scans."""
    from benchmarks.monai_experiment import train_densenet

    paths = Artifacts(folder).cohort(trial.cohort)
    files = pd.read_csv(paths.cohort, dtype=str).set_index(SCAN_ID)["path"]
    classes = read_json(paths.ingest)["classes"]
    rows = {
        split: table.assign(path=table[SCAN_ID].map(files), label=table[LABEL].map(classes.index))
        for split, table in rows_of_fold(read_splits(paths.splits), trial.fold).items()
    }
    scores, parameters = train_densenet(rows, paths.raw, trial.seed)
    return held_out_table(trial, folder, rows[TEST][SCAN_ID], scores), parameters


def held_out_table(trial: Trial, folder: Path, scan_ids: Sequence[str], scores: Sequence[float]) -> pd.DataFrame:
    """Scan, patient, true label and score of the scans of the held-out part, all of which must be there."""
    truth = read_splits(Artifacts(folder).cohort(trial.cohort).splits).set_index(SCAN_ID)
    part = truth[truth[FOLD] == trial.outer]
    table = part[[PATIENT_ID, LABEL]].join(pd.Series(list(scores), list(scan_ids), name=SCORE))
    if table[SCORE].isna().any() or len(table) != len(scan_ids):
        raise ValueError(f"{trial}: {len(scan_ids)} scans were predicted, expected the {len(part)} of its part.")
    return table.reset_index()


def judged(cohort: str, method: str, folder: Path, seeds: Sequence[int]) -> pd.DataFrame | None:
    """A row a patient with its part, label and mean score over scans and seeds; None where a part is missing."""
    trials = [Trial(cohort, method, outer, seed) for outer in range(FOLDS) for seed in seeds]
    if not all(trial.path(folder).exists() for trial in trials):
        return None
    scans = [
        pd.read_csv(trial.path(folder), dtype={PATIENT_ID: str, LABEL: str}).assign(**{FOLD: trial.outer})
        for trial in trials
    ]
    by = [FOLD, PATIENT_ID, LABEL]
    return pd.concat(scans).groupby(by, as_index=False)[SCORE].mean().sort_values(by, ignore_index=True)


def compare(found: dict[str, pd.DataFrame], positive: str) -> dict[str, dict[str, object]]:
    """AUROC of each method with its interval, and its paired difference to MONAI's where that was run."""
    names = list(found)
    first = found[names[0]]
    if any(not table[PATIENT_ID].equals(first[PATIENT_ID]) for table in found.values()):
        raise ValueError("methods were judged on different patients, expected the same; use one folder for one split.")
    is_positive = (first[LABEL] == positive).to_numpy()
    scores = np.stack([table[SCORE].to_numpy() for table in found.values()], axis=1)
    patients = np.arange(len(first))
    aurocs, covariance = clustered_auroc(is_positive, scores, patients, first[FOLD].to_numpy())
    rows = {}
    for index, name in enumerate(names):
        low, high = auroc_interval(aurocs[index], covariance[index, index])
        rows[name] = {"auroc": aurocs[index], "low": low, "high": high, "num_patients": len(first)}
        rows[name] |= {"accuracy": float(((scores[:, index] >= 0.5) == is_positive).mean())}
        rows[name] |= {"majority_share": max(is_positive.mean(), 1 - is_positive.mean())}
        if MONAI in found and name != MONAI:
            contrast = np.eye(len(names))[index] - np.eye(len(names))[names.index(MONAI)]
            reach = normal_quantile(CONFIDENCE) * np.sqrt(contrast @ covariance @ contrast)
            value = contrast @ aurocs
            rows[name] |= {"minus_monai": value, "minus_monai_low": value - reach, "minus_monai_high": value + reach}
    return rows


def auroc_interval(value: float, variance: float) -> tuple[float, float]:
    """Undefined where patients are ranked without any error."""
    is_inside = 0 < value < 1 and variance > 0
    return logit_interval(value, variance, CONFIDENCE) if is_inside else (np.nan, np.nan)


def table_of(folder: Path, seeds: Sequence[int]) -> pd.DataFrame:
    """A row a cohort and method, 'not run' where a part is missing."""
    rows = []
    for cohort in COHORTS:
        found = {name: judged(cohort, name, folder, seeds) for name in methods()}
        found = {name: table for name, table in found.items() if table is not None}
        paths = Artifacts(folder).cohort(cohort)
        figures = compare(found, read_json(paths.ingest)["classes"][-1]) if found else {}
        for name in methods():
            row = {"cohort": cohort, "method": name, "status": "run" if name in figures else "not run"}
            if name in figures:
                row |= {**figures[name], **records_of(cohort, name, folder, seeds), "data_md5": md5_of(paths)}
            rows.append(row)
    return pd.DataFrame(rows).reindex(columns=COLUMNS).round(4)


def records_of(cohort: str, method: str, folder: Path, seeds: Sequence[int]) -> dict[str, object]:
    """How the trials of a row were run."""
    trials = [Trial(cohort, method, outer, seed) for outer in range(FOLDS) for seed in seeds]
    records = [read_json(trial.path(folder).with_suffix(".json")) for trial in trials]
    joined = {key: "; ".join(sorted({record[key] for record in records})) for key in ("commit", "command")}
    seconds = float(np.mean([record["seconds"] for record in records]))
    return {
        "seeds": " ".join(map(str, seeds)),
        "seconds_per_training": round(seconds, 1),
        "parameters": records[0]["parameters"],
        **joined,
    }


def md5_of(paths: CohortPaths) -> str:
    """Of the scans' hashes and the nested folds: who was judged on what."""
    scans = pd.read_csv(paths.cohort, dtype=str)["file_sha256"].sort_values()
    digest = hashlib.md5("".join(scans).encode(), usedforsecurity=False)
    digest.update(paths.splits.read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=REPOSITORY / "runs" / "accuracy", help="where trials are kept")
    parser.add_argument("--minutes", type=float, default=60, help="no training is started after so many")
    parser.add_argument("--cohorts", nargs="+", choices=COHORTS, default=list(COHORTS))
    parser.add_argument("--methods", nargs="+", choices=methods(), default=methods())
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="write the table of what is there, and run nothing")
    arguments = parser.parse_args()
    runs = Runs(arguments.folder.resolve(), time.monotonic() + 60 * arguments.minutes)
    os.chdir(REPOSITORY)
    try:
        if not arguments.table:
            for cohort, method in [(cohort, method) for cohort in arguments.cohorts for method in arguments.methods]:
                for seed, outer in [(seed, outer) for seed in arguments.seeds for outer in range(FOLDS)]:
                    runs.run(Trial(cohort, method, outer, seed))
    finally:
        table = table_of(runs.folder, arguments.seeds)
        write_csv(RESULTS, table)
        print(table.drop(columns=["data_md5", "commit", "command"]).to_string(index=False))


if __name__ == "__main__":
    main()
