"""Report: a page for each experiment, one of the cohort, and one that compares the experiments.

Reads   data/<cohort>/{cohort.csv, ingest.json, splits.csv, leakage.json, plan.yaml, preprocessed/}, runs/<cohort>/
Writes  reports/<cohort>/{<experiment>.html, cohort.html, index.html}, each a file that needs nothing else
"""

import logging

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import COHORT_PAGE, Artifacts

log = logging.getLogger(__name__)


def report(config: Config) -> None:
    """Write the pages of all experiments of the cohort."""
    from dataclasses import replace

    from pipeline.core.io import write_text
    from pipeline.reporting.inputs import read_report_inputs
    from pipeline.reporting.pages import cohort_html, experiment_html, index_html

    paths, cohort, inputs = Artifacts(config.root), config.cohort.name, read_report_inputs(config)
    for run in inputs.runs:
        write_text(paths.report(cohort, run.name), experiment_html(replace(inputs, run=run)))
    write_text(paths.report(cohort, COHORT_PAGE), cohort_html(inputs))
    write_text(paths.report(cohort), index_html(inputs))
    log.info("report: %d pages, first %s", len(inputs.runs) + 2, paths.report(cohort))


if __name__ == "__main__":
    cli.run(report)
