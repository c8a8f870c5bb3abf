"""Report: a page for each experiment, and one that compares them.

Reads   data/<cohort>/{cohort.csv, ingest.json, splits.csv, leakage.json, plan.yaml}, runs/<cohort>/
Writes  reports/<cohort>/{<experiment>.html, index.html}, each a file that needs nothing else
"""

from pipeline import stage
from pipeline.artifacts import Artifacts
from pipeline.config import Config


def report(config: Config) -> None:
    """Write the pages of all experiments of the cohort."""
    from pipeline.files import write_text
    from pipeline.reporting.experiment_page import experiment_html
    from pipeline.reporting.gathering import gather_cohort, gather_run
    from pipeline.reporting.index_page import index_html

    paths, cohort = Artifacts(config.root), config.cohort.name
    facts = gather_cohort(paths.cohort(cohort))
    runs = [
        gather_run(name, paths.run(cohort, name), config.folds, config.cohort.task)
        for name in config.experiments or (config.name,)
    ]
    for run in runs:
        write_text(paths.report(cohort, run.name), experiment_html(run, facts, config))
    write_text(paths.report(cohort), index_html(runs, config))


if __name__ == "__main__":
    stage.run(report)
