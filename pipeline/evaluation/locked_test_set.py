"""The locked test set: the count of its evaluations, because choices made after one bias the next.

No choice of the pipeline reads it: `core/folds.py` gives training its train and val rows, `planning` sees development
scans only, calibration and thresholds are fitted on validation, and experiments are compared there by default.
"""

import hashlib
import logging
from pathlib import Path

import pandas as pd

from pipeline.core.columns import SPLIT, TEST
from pipeline.core.io import write_csv
from pipeline.core.tables import read_table

log = logging.getLogger(__name__)
COLUMNS = ["experiment", "predictions"]


def count_test_evaluations(
    folder: Path, experiment: str, predictions: pd.DataFrame, revision: str | None = None
) -> int | None:
    """Record these test predictions unless they are known; return the number of different ones, None without test rows.

    The same predictions evaluated again, for example with other intervals, are not a new evaluation. Each experiment
    has a file of its own, since several are evaluated at once; those of a `revision` are in another one, which no
    stage of the graph writes.
    """
    test, known = predictions[predictions[SPLIT] == TEST], recorded_evaluations(folder)
    path = (folder if revision is None else folder / "compared") / f"{experiment}.csv"
    looks = read_table(path) if path.is_file() else pd.DataFrame(columns=COLUMNS, dtype=str)
    digest = digest_of(test)
    is_new = len(test) > 0 and digest not in known
    if is_new:
        looks.loc[len(looks)] = [experiment if revision is None else f"{experiment} of {revision}", digest]
    # The graph expects the file of an experiment, without a test set too.
    if is_new or (revision is None and not path.is_file()):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path, looks)
    return len(known) + is_new if len(test) else None


def digest_of(test: pd.DataFrame) -> str:
    text = test.sort_values(list(test.columns)).to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record_test_evaluation(
    folder: Path, experiment: str, predictions: pd.DataFrame, revision: str | None = None
) -> None:
    """Count the evaluation and log it."""
    before = len(recorded_evaluations(folder))
    looks = count_test_evaluations(folder, experiment, predictions, revision)
    if looks is not None:
        what = "; commit it to git" if looks > before else ", as before"
        log.info(
            "%s: evaluation %d of the locked test set%s; choices made after one bias the next", folder, looks, what
        )


def recorded_evaluations(folder: Path) -> set[str]:
    """The digests of all evaluated predictions of a cohort's test set."""
    return {digest for path in folder.rglob("*.csv") for digest in read_table(path)["predictions"]}
