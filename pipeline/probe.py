"""Probe: how well labels can be read from a table of features, in seconds and without a network.

Reads   a Parquet table of features, cohort.csv, ingest.json
Writes  <features>.probe.csv and <features>.probe.json beside it; prints
"""

from pathlib import Path
from typing import Annotated

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts


def probe(
    config: Config,
    features: Annotated[Path, "table that python -m pipeline.embed wrote"],
    *,
    labels: Annotated[list[str] | None, "columns of cohort.csv to fit (default: label)"] = None,
    shots: Annotated[bool, "fit on 1, 2, 4, 8 and 16 patients of each class too"] = False,
    draws: Annotated[int, "draws of these patients (default: 20)"] = 20,
    out: Annotated[Path | None, "table to write, with a .json of the same name beside it"] = None,
) -> None:
    """Fit a logistic regression for each label in every fold, and print its AUROC on patients that it never saw."""
    from rich.console import Console

    from pipeline.core.io import write_csv, write_json
    from pipeline.evaluation.settings import Settings
    from pipeline.inference.feature_table import read_features
    from pipeline.inference.probe import probe_labels, results_record, results_table
    from pipeline.reporting.formatting import probe_table

    if draws < 1:
        raise ValueError(f"--draws: got {draws}, expected 1 or more.")
    found = read_features(features)
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    cohort = Artifacts(config.root).cohort(config.cohort.name)
    probes = probe_labels(found, cohort, labels or ["label"], settings, num_draws=draws if shots else 0)
    path = out or features.with_suffix(".probe.csv")
    write_csv(path, results_table(probes))
    write_json(path.with_suffix(".json"), results_record(found, probes))
    Console().print(probe_table(results_table(probes), settings.confidence))


if __name__ == "__main__":
    cli.run(probe)
