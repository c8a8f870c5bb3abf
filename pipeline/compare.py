"""Compare: one experiment as several revisions left it, on the same patients.

Reads   runs/<cohort>/<experiment>/predictions/ of each git revision or DVC experiment
Writes  test_looks/<cohort>/compared/<experiment>.csv if it evaluates test; prints
"""

from typing import Annotated

from pipeline.config import Config
from pipeline.core import cli
from pipeline.core.columns import TEST, TRAIN, VAL
from pipeline.core.paths import Artifacts


def compare(
    config: Config,
    *revisions: Annotated[str, "git revisions, DVC experiments or 'workspace'; the first two are the primary pair"],
    split: Annotated[str, "val, or test, which is recorded as a use of the test set"] = VAL,
) -> None:
    """Say which revision of the experiment ranks patients better, or that there is no evidence of a difference."""
    from rich.console import Console

    from pipeline.evaluation.comparison import compare_experiments
    from pipeline.evaluation.locked_test_set import record_test_evaluation
    from pipeline.evaluation.pairing import read_revision
    from pipeline.evaluation.settings import Settings
    from pipeline.reporting.formatting import comparison_text

    if split not in (VAL, TEST):
        raise ValueError(f"compare: unknown split '{split}', expected {VAL} or {TEST}; the model has seen {TRAIN}.")
    if len(set(revisions)) < 2:
        raise ValueError(f"compare: expected two revisions or more, got {', '.join(revisions) or 'none'}; name them.")
    run = Artifacts(config.root).run(config.cohort.name, config.name)
    predictions = run.predictions(config.training_keys[0]).parent
    tables = {revision: read_revision(revision, predictions) for revision in revisions}
    settings = Settings(task=config.cohort.task, **config.evaluation.model_dump())
    found = compare_experiments(tables, settings, split)
    if split == TEST:
        for revision, table in tables.items():
            record_test_evaluation(run.looks, config.name, table, revision)
    Console().print(comparison_text(found, config.name, split), soft_wrap=True)


if __name__ == "__main__":
    cli.run(compare)
