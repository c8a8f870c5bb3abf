"""The path of every file that stages read and write, and the one name that a training has in paths."""

import os
from dataclasses import dataclass
from pathlib import Path

COHORT_PAGE, INDEX_PAGE = OTHER_PAGES = "cohort", "index"
"""Pages of a report that are not an experiment's."""
DVC_PLOTS = ("roc", "precision_recall", "calibration", "decision_curve", "confusion")
"""Tables that `dvc plots show` draws; dvc.yaml names them one by one, with their columns."""


@dataclass(frozen=True, order=True)
class TrainingKey:
    """One training of an experiment: the fold that validates, and the seed of weights, order and augmentation."""

    fold: int
    seed: int

    @property
    def name(self) -> str:
        """In paths and in tables of calibrations."""
        return f"fold-{self.fold}-seed-{self.seed}"

    def __str__(self) -> str:
        return f"fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class CohortPaths:
    """Files of one cohort: `data/<cohort>/`."""

    folder: Path

    @property
    def raw(self) -> Path:
        """Folder of raw scans, or a link to your own."""
        return self.folder / "raw"

    @property
    def labels(self) -> Path:
        """The original label table, or a link to your own."""
        return self.folder / "labels.csv"

    @property
    def truth(self) -> Path:
        """Ground truth of a generated cohort; no stage before explain reads it."""
        return self.folder / "truth"

    @property
    def cohort(self) -> Path:
        return self.folder / "cohort.csv"

    @property
    def ingest(self) -> Path:
        return self.folder / "ingest.json"

    @property
    def splits(self) -> Path:
        return self.folder / "splits.csv"

    def given(self, name: str) -> Path:
        """A link to your own file that the split follows, or an empty file."""
        return self.folder / "given" / name

    @property
    def leakage(self) -> Path:
        return self.folder / "leakage.json"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.yaml"

    @property
    def preprocessed(self) -> Path:
        return self.folder / "preprocessed"

    @property
    def features(self) -> Path:
        """Features of frozen networks, computed once per scan; a cache, named by content."""
        return self.folder / "features"

    def embeddings(self, name: str) -> Path:
        """Features of every scan by an encoder that was not trained here, or by another cohort's training."""
        return self.folder / "embeddings" / f"{name}.parquet"


@dataclass(frozen=True)
class RunPaths:
    """Files of one experiment on one cohort: `runs/<cohort>/<experiment>/`."""

    folder: Path

    def training(self, key: TrainingKey) -> "TrainingPaths":
        return TrainingPaths(self.folder / key.name)

    def find_trainings(self) -> "list[TrainingPaths]":
        """Every training that has a folder here; which one it is, its config.yaml and its checkpoint say."""
        return [TrainingPaths(folder) for folder in sorted(self.folder.glob("fold-*-seed-*")) if folder.is_dir()]

    def features(self, key: TrainingKey) -> Path:
        """What the classifier reads of every scan of the cohort, as `python -m pipeline.embed` writes it."""
        return self.folder / "embeddings" / f"{key.name}.parquet"

    def predictions(self, key: TrainingKey) -> Path:
        return self.folder / "predictions" / f"{key.name}.csv"

    def predicted_by(self, key: TrainingKey) -> Path:
        """The SHA-256 of the checkpoint that the training's predictions come from."""
        return self.folder / "predictions" / f"{key.name}.json"

    def embeddings(self, key: TrainingKey) -> Path:
        return self.folder / "embeddings" / f"{key.name}.npz"

    def guard(self, key: TrainingKey) -> Path:
        """The input guard of a training: which new scans are unlike those that it was trained on."""
        return self.folder / "guards" / f"{key.name}.safetensors"

    @property
    def evaluation(self) -> "EvaluationPaths":
        return EvaluationPaths(self.folder / "evaluation")

    def external(self, cohort: str) -> "EvaluationPaths":
        """The evaluation of this run on another cohort."""
        return EvaluationPaths(self.folder / "external" / cohort)

    @property
    def looks(self) -> Path:
        """Folder of every evaluation of the cohort's locked test set, of any experiment; in git, unlike runs/."""
        return self.folder.parents[2] / "test_looks" / self.folder.parent.name

    @property
    def audits(self) -> Path:
        """The findings of each audit: a verdict, whether it is an alarm, its metrics."""
        return self.folder / "audits" / "audits.json"

    @property
    def doubtful_labels(self) -> Path:
        """Patients or scans, from the most doubtful label to the least."""
        return self.folder / "audits" / "doubtful_labels.csv"

    @property
    def changes(self) -> Path:
        """Predictions of some scans under perturbations."""
        return self.folder / "audits" / "changes.csv"

    @property
    def audit_summary(self) -> Path:
        """Alarms and their main metrics alone, for `dvc metrics show`."""
        return self.folder / "audit_summary.json"

    @property
    def explanations(self) -> Path:
        return self.folder / "explanations"


@dataclass(frozen=True)
class EvaluationPaths:
    """Files of one evaluation: `runs/<cohort>/<experiment>/evaluation/`, or any folder that `evaluate --out` names."""

    folder: Path

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def summary(self) -> Path:
        """The headline metrics alone, for `dvc metrics show` and `dvc exp show`."""
        return self.folder / "summary.json"

    def plot(self, name: str) -> Path:
        """A table that is drawn: roc, calibration, confusion, scores, …"""
        return self.folder / ("plots" if name in DVC_PLOTS else "tables") / f"{name}.csv"

    @property
    def headline(self) -> Path:
        """The panel of figures that a reader needs first."""
        return self.folder / "tables" / "headline.csv"

    @property
    def case_mix(self) -> Path:
        """Labels and covariates by part of the split."""
        return self.folder / "tables" / "case_mix.csv"

    @property
    def participant_flow(self) -> Path:
        """Scans and patients from the label table to the evaluated ones."""
        return self.folder / "tables" / "participant_flow.csv"

    @property
    def models(self) -> Path:
        """Metrics of each fold's and seed's model by itself."""
        return self.folder / "tables" / "models.csv"

    @property
    def subgroups(self) -> Path:
        """AUROC within groups of patients."""
        return self.folder / "tables" / "subgroups.csv"

    @property
    def baselines(self) -> Path:
        """AUROC of predictors that never see the image."""
        return self.folder / "tables" / "baselines.csv"

    @property
    def operating_point(self) -> Path:
        """Threshold frozen on validation, by level."""
        return self.folder / "frozen" / "operating_point.json"

    @property
    def calibration(self) -> Path:
        """Correction of the probabilities fitted on validation, by level."""
        return self.folder / "frozen" / "calibration.json"

    @property
    def conformal(self) -> Path:
        """From which probability a class enters a set, fitted on validation, by level."""
        return self.folder / "frozen" / "conformal.json"

    @property
    def checkpoints(self) -> Path:
        """The SHA-256 of each evaluated checkpoint, by training: the other files here hold for these alone."""
        return self.folder / "frozen" / "checkpoints.json"


@dataclass(frozen=True)
class TrainingPaths:
    """Files of one training: `runs/<cohort>/<experiment>/fold-<k>-seed-<s>/`."""

    folder: Path

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def int8(self) -> Path:
        """best.ckpt with weights in eight bits."""
        return self.folder / "best.int8.ckpt"

    @property
    def quantized(self) -> Path:
        """The cost of eight bits on the validation scans."""
        return self.folder / "quantized.json"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def lock(self) -> Path:
        """An empty file, locked by the process that trains."""
        return self.folder / ".lock"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def steps(self) -> Path:
        """One row per update: loss, learning rate, gradient norm, time, memory."""
        return self.folder / "steps.csv"

    @property
    def best_epoch(self) -> Path:
        """Metrics of the epoch that best.ckpt comes from, for `dvc metrics show` and for searches.

        Written last: a training that has it is finished, and its W&B run is closed.
        """
        return self.folder / "best.json"

    @property
    def members(self) -> Path:
        """How much each member of a stack counts; best.json repeats it."""
        return self.folder / "members.json"

    @property
    def tracking(self) -> Path:
        """Status of the training, and its W&B run."""
        return self.folder / "tracking.json"


@dataclass(frozen=True)
class Artifacts:
    """Every path below a root folder."""

    root: Path

    def cohort(self, name: str) -> CohortPaths:
        return CohortPaths(self.root / "data" / name)

    def runs(self, cohort: str) -> Path:
        """Folder of all experiments on a cohort."""
        return self.root / "runs" / cohort

    def run(self, cohort: str, experiment: str) -> RunPaths:
        return RunPaths(self.runs(cohort) / experiment)

    def report(self, cohort: str, page: str = INDEX_PAGE) -> Path:
        """The page of an experiment, or one of `OTHER_PAGES`."""
        return self.root / "reports" / cohort / f"{page}.html"

    @property
    def wandb(self) -> Path:
        """All that W&B keeps, below $WANDB_DIR if set; it alone can be carried to a machine that may upload it."""
        return Path(os.environ.get("WANDB_DIR", self.root)) / "wandb"

    @property
    def pseudonym_key(self) -> Path:
        """The secret behind the pseudonyms of this clone; not in git."""
        return self.root / ".pseudonym_key"

    def tracking(self, cohort: str) -> Path:
        """What was sent to W&B, and under which run ids."""
        return self.root / "tracking" / f"{cohort}.json"
