"""Ingest: check every scan and label, and write one verified row a scan.

Reads   data/<cohort>/raw/, data/<cohort>/labels.csv
Writes  data/<cohort>/cohort.csv, data/<cohort>/ingest.json
"""

from pathlib import Path
from typing import Annotated

from pipeline.config import Config, cli
from pipeline.core.paths import Artifacts


def ingest(config: Config, *, workers: Annotated[int | None, "processes (default: one a processor)"] = None) -> None:
    """Check every scan and label of the cohort; stop with all problems listed, or write the cohort's table."""
    from pipeline.cohorts.ingest import ingest_cohort
    from pipeline.core.parallel import cores_at_hand

    ingest_cohort(config.cohort, Artifacts(config.root).cohort(config.cohort.name), workers or cores_at_hand())


def check(
    *,
    check: Annotated[list[Path], "check these files and folders instead, without any config"],
    json: Annotated[bool, "print the outcome as JSON"] = False,
) -> int:
    """Check scans one by one; exit code 1 if any is rejected."""
    from pipeline.imaging.validation import report_scans

    return report_scans(check, as_json=json)


if __name__ == "__main__":
    cli.run(ingest, check=check)
