"""Every path and column name, once."""

from dataclasses import dataclass
from pathlib import Path

SCAN_ID, PATIENT_ID, PATH, LABEL = "scan_id", "patient_id", "path", "label"
SPLIT, FOLD = "split", "fold"
DEVELOPMENT, TRAIN, VAL, TEST = "development", "train", "val", "test"
PROB_PREFIX = "prob_"
CHANGE, UNCHANGED, MASKED = "change", "none", "body masked out"
"""The column of changes.csv that names a change of the scan, and two of its values that are no harmless ones."""


@dataclass(frozen=True)
class CohortPaths:
    """Files of one cohort: `data/<cohort>/`."""

    folder: Path

    @property
    def raw(self) -> Path:
        """Folder of raw scans, or a link to one's own."""
        return self.folder / "raw"

    @property
    def labels(self) -> Path:
        """Label table as it came, or a link to one's own."""
        return self.folder / "labels.csv"

    @property
    def truth(self) -> Path:
        """What a generated cohort knows of itself; no stage before explain reads it."""
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
        """Features of frozen networks, computed once a scan; a cache, named by content."""
        return self.folder / "features"


@dataclass(frozen=True)
class RunPaths:
    """Files of one experiment on one cohort: `runs/<cohort>/<experiment>/`."""

    folder: Path

    def fold(self, fold: int) -> "FoldPaths":
        return FoldPaths(self.folder / f"fold-{fold}")

    def predictions(self, fold: int) -> Path:
        return self.folder / "predictions" / f"fold-{fold}.csv"

    def embeddings(self, fold: int) -> Path:
        return self.folder / "embeddings" / f"fold-{fold}.npz"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def summary(self) -> Path:
        """The headline figures alone, for `dvc metrics show` and `dvc exp show`."""
        return self.folder / "summary.json"

    @property
    def plots(self) -> Path:
        """Plot tables: roc.csv, calibration.csv, confusion.csv."""
        return self.folder / "plots"

    @property
    def operating_point(self) -> Path:
        """Threshold frozen on validation, by level."""
        return self.folder / "operating_point.json"

    @property
    def calibration(self) -> Path:
        """Correction of the probabilities fitted on validation, by level."""
        return self.folder / "calibration.json"

    @property
    def subgroups(self) -> Path:
        """AUROC within kinds of patients."""
        return self.folder / "subgroups.csv"

    @property
    def floors(self) -> Path:
        """AUROC of predictors that never see the image."""
        return self.folder / "floors.csv"

    @property
    def audits(self) -> Path:
        """What each audit found."""
        return self.folder / "audits.json"

    @property
    def audit_summary(self) -> Path:
        """Alarms and their main figures alone, for `dvc metrics show`."""
        return self.folder / "audit_summary.json"

    @property
    def doubtful_labels(self) -> Path:
        """Patients or scans, from the most doubtful label to the least."""
        return self.folder / "doubtful_labels.csv"

    @property
    def changes(self) -> Path:
        """Predictions of some scans under changes."""
        return self.folder / "changes.csv"

    @property
    def explanations(self) -> Path:
        return self.folder / "explanations"


@dataclass(frozen=True)
class FoldPaths:
    """Files of one training: `runs/<cohort>/<experiment>/fold-<k>/`."""

    folder: Path

    @property
    def best(self) -> Path:
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"


@dataclass(frozen=True)
class Artifacts:
    """Where everything of a root folder lies."""

    root: Path

    def cohort(self, name: str) -> CohortPaths:
        return CohortPaths(self.root / "data" / name)

    def run(self, cohort: str, experiment: str) -> RunPaths:
        return RunPaths(self.root / "runs" / cohort / experiment)

    def report(self, cohort: str, experiment: str = "index") -> Path:
        return self.root / "reports" / cohort / f"{experiment}.html"

    def tracking(self, cohort: str) -> Path:
        """What was sent to W&B, and under which run ids."""
        return self.root / "tracking" / f"{cohort}.json"
