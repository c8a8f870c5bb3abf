"""Classify 3D medical volumes.

A stage is a verb, `python -m pipeline.<verb>`; DVC runs them in this order:

stage       reads                                   writes
fetch       a built-in source, or one's own folder  data/<cohort>/{raw/, labels.csv}
ingest      raw scans, label table                  cohort.csv, ingest.json
split       cohort.csv, raw scans                   splits.csv, leakage.json
plan        cohort.csv, splits.csv, raw scans       plan.yaml
preprocess  raw scans, plan.yaml                    preprocessed/
train       preprocessed/, splits.csv, plan.yaml    runs/<cohort>/<experiment>/fold-<k>-seed-<s>/
predict     a run, its folds or any new scan        predictions/, embeddings/, guards/
evaluate    predictions                             evaluation/: metrics.json, frozen/, tables/, plots/
audit       predictions, a run, preprocessed/       audits/, audit_summary.json
explain     a run, chosen scans                     explanations/, NIfTI on each scan's own grid
report      all of the above                        reports/<cohort>/<experiment>.html, index.html
track       all of the above                        tracking/<cohort>.json, the W&B runs

Beside the graph: `init` writes a cohort's config, `results` prints the table of metrics, `runs` that of trainings,
`compare` compares revisions of an experiment, `quantize` writes the weights of a training in eight bits and the cost,
`embed` writes the features of every scan, `probe` fits labels on them, `encoder` installs pretrained encoders.
In Python, `load_run` gives a trained run that predicts raw scans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pipeline.inference.trained_run import TrainedRun

__all__ = ["load_run"]


def load_run(run: str | Path, *, own_transforms: Iterable[str] = ()) -> TrainedRun:
    """A trained run that predicts raw scans.

    `run` is `runs/<cohort>/<experiment>`, whose trainings are calibrated and averaged, or one training in it.
    `own_transforms` are dotted paths of preprocessing transforms of your own that the run names and you trust.
    Raises `ValueError` or `FileNotFoundError` if there is no usable checkpoint; nothing in one is executed.
    """
    from pathlib import Path

    from pipeline.inference.trained_run import TrainedRun

    return TrainedRun.load(Path(run), own_transforms=frozenset(own_transforms))
