"""Ingest: check every scan and label, and write one verified row per scan.

Reads   data/<cohort>/raw/, data/<cohort>/labels.csv
Writes  data/<cohort>/cohort.csv, data/<cohort>/ingest.json
"""

import logging
from pathlib import Path
from typing import Annotated

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def ingest(config: Config, *, workers: Annotated[int | None, "processes (default: one per CPU)"] = None) -> None:
    """Check every scan and label of the cohort; stop with all problems listed, or write the cohort's table."""
    from pipeline.cohorts.ingest import ingest_cohort
    from pipeline.cohorts.label_table import read_cohort
    from pipeline.core.counts import format_cohort
    from pipeline.core.io import read_json
    from pipeline.core.parallel import available_cpus

    paths = Artifacts(config.root).cohort(config.cohort.name)
    ingest_cohort(config.cohort, paths, workers or available_cpus())
    num_excluded = len(read_json(paths.ingest, "excluded")["excluded"])
    log.info("ingest: %s, %d left out; %s", format_cohort(read_cohort(paths.cohort)), num_excluded, paths.cohort)


def check_scans(
    paths: Annotated[list[Path], "scans and folders of scans"],
    *,
    json: Annotated[bool, "print the result as JSON"] = False,
) -> int:
    """Check scans one by one, without a config; the exit code is 1 if any is rejected."""
    from pipeline.imaging.validation import report_scans

    return report_scans(paths, as_json=json)


if __name__ == "__main__":
    cli.run(ingest, check=check_scans)
