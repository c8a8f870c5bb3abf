"""Results: the table of a cohort's experiments, and where their report is.

Reads   runs/<cohort>/<experiment>/evaluation/metrics.json
Writes  nothing; prints
"""

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.paths import Artifacts


def results(config: Config) -> None:
    """Print the main metrics of every experiment with their intervals, and the path of the report."""
    from rich.console import Console

    from pipeline.reporting.formatting import results_table

    paths, cohort = Artifacts(config.root), config.cohort.name
    names = config.experiments or (config.name,)
    console = Console()
    metrics = {name: paths.run(cohort, name).evaluation.metrics for name in names}
    console.print(results_table(metrics, cohort, config.evaluation))
    console.print(f"Report: {paths.report(cohort)}", soft_wrap=True)


if __name__ == "__main__":
    cli.run(results)
