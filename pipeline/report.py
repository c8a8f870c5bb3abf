"""Report: a page for each experiment, one of the cohort, and one that compares the experiments.

Reads   data/<cohort>/{cohort.csv, ingest.json, splits.csv, leakage.json, plan.yaml, preprocessed/}, runs/<cohort>/
Writes  reports/<cohort>/{<experiment>.html, cohort.html, index.html}, each a file that needs nothing else
"""

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import COHORT_PAGE, Artifacts


def report(config: Config) -> None:
    """Write the pages of all experiments of the cohort."""
    from pipeline.core.io import write_text
    from pipeline.reporting.cohort_page import cohort_html
    from pipeline.reporting.experiment_page import experiment_html
    from pipeline.reporting.index_page import index_html
    from pipeline.reporting.inputs import gather_cohort, gather_run
    from pipeline.store.store import Store

    paths, cohort = Artifacts(config.root), config.cohort.name
    facts = gather_cohort(paths.cohort(cohort))
    runs = [
        gather_run(name, paths.run(cohort, name), config.training_keys, config.cohort.task)
        for name in config.experiments or (config.name,)
    ]
    for run in runs:
        write_text(paths.report(cohort, run.name), experiment_html(run, facts, config))
    store = Store(paths.cohort(cohort).preprocessed)
    write_text(paths.report(cohort, COHORT_PAGE), cohort_html(facts, config.cohort, store))
    write_text(paths.report(cohort), index_html(runs, config))


if __name__ == "__main__":
    cli.run(report)
