"""Fetch: put scans and label table where the other stages look for them.

Reads   the cohort's source: a phantom's recipe, a MedMNIST3D archive, or a folder and a table of one's own
Writes  data/<cohort>/raw/, data/<cohort>/labels.csv, and data/<cohort>/truth/ for a phantom
"""

import logging

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts

log = logging.getLogger(__name__)


def fetch(config: Config) -> None:
    """Generate, download or link the cohort's scans and labels."""
    from pipeline.cohorts.sources.fetch import fetch_cohort

    paths = Artifacts(config.root).cohort(config.cohort.name)
    fetch_cohort(config.cohort, paths)
    log.info("fetch: scans in %s, labels in %s", paths.raw, paths.labels)


if __name__ == "__main__":
    cli.run(fetch)
