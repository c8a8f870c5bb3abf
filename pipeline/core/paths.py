"""Where everything lies, once."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.folds import FoldLabel

COHORT_PAGE, INDEX_PAGE = OTHER_PAGES = "cohort", "index"
"""Pages of a report that are not an experiment's."""


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

    def given(self, name: str) -> Path:
        """A link to a file of one's own that the split follows; an empty file where there is none."""
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
        """Features of frozen networks, computed once a scan; a cache, named by content."""
        return self.folder / "features"


@dataclass(frozen=True)
class RunPaths:
    """Files of one experiment on one cohort: `runs/<cohort>/<experiment>/`."""

    folder: Path

    def fold(self, fold: FoldLabel) -> "FoldPaths":
        return FoldPaths(self.folder / f"fold-{fold}")

    def predictions(self, fold: FoldLabel) -> Path:
        return self.folder / "predictions" / f"fold-{fold}.csv"

    def predicted_by(self, fold: FoldLabel) -> Path:
        """The SHA-256 of the checkpoint that the fold's predictions come from."""
        return self.folder / "predictions" / f"fold-{fold}.json"

    def embeddings(self, fold: FoldLabel) -> Path:
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
    def checkpoints(self) -> Path:
        """The SHA-256 of each checkpoint that was evaluated, by fold: what is frozen here holds for these alone."""
        return self.folder / "checkpoints.json"

    @property
    def conformal(self) -> Path:
        """From which probability a class enters a set, fitted on validation, by level."""
        return self.folder / "conformal.json"

    @property
    def models(self) -> Path:
        """Figures of each fold's and seed's model by itself."""
        return self.folder / "models.csv"

    @property
    def looks(self) -> Path:
        """Every set of predictions of the cohort's locked test set that was judged, of any experiment."""
        return self.folder.parent / "test_looks.csv"

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
        """What each audit found: a verdict, whether it is an alarm, the figures behind."""
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
    def int8(self) -> Path:
        """best.ckpt with weights in eight bits."""
        return self.folder / "best.int8.ckpt"

    @property
    def quantised(self) -> Path:
        """What eight bits cost on the fold's validation scans."""
        return self.folder / "quantised.json"

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def steps(self) -> Path:
        """A row an update: loss, rate, gradient norm, time, memory."""
        return self.folder / "steps.csv"

    @property
    def best_epoch(self) -> Path:
        """Figures of the epoch that best.ckpt comes from, for `dvc metrics show` and for searches."""
        return self.folder / "best.json"

    @property
    def tracking(self) -> Path:
        """How the training stands, and where its W&B run is."""
        return self.folder / "tracking.json"


@dataclass(frozen=True)
class Artifacts:
    """Where everything of a root folder lies."""

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
