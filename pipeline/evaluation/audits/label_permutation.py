"""Do labels reach the test set? With labels shuffled over patients nothing is left to find, unless they do.

The labels of the whole cohort are shuffled over its patients, a linear probe on a fitted embedding of the scans is
fitted on the training side of the division and judged on the other, many times. An AUROC above chance on average means
that test patients were trained on. An embedding cannot know that two names are one person, nor what happened before
it: silence is no proof that nothing leaks.
"""

import numpy as np
import pandas as pd
from scipy.stats import ttest_1samp

from pipeline.core.columns import LABEL, PATIENT_ID
from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import aurocs, held_out_scores
from pipeline.evaluation.cv_design import PART, TRAIN_ONLY
from pipeline.evaluation.sample import Array
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

NUM_SHUFFLES = 199


def audit_label_permutation(
    division: pd.DataFrame,
    embeddings: Array,
    positive: str,
    num_shuffles: int = NUM_SHUFFLES,
    seed: int = 0,
    *,
    level: float = LEVEL,
) -> AuditFinding:
    """`division` has a row a patient and part (`patient_partitions`), `embeddings` (n, F) a vector for each row."""
    patients = division.drop_duplicates(PATIENT_ID)
    is_positive = (patients[LABEL] == positive).to_numpy()
    if min(is_positive.sum(), (~is_positive).sum()) < FEWEST_PATIENTS:
        return not_assessed(f"under {FEWEST_PATIENTS} patients of a class")
    generator = np.random.default_rng(seed)
    shuffled = generator.permuted(np.tile(is_positive[:, None], num_shuffles), axis=0)
    codes = pd.Index(patients[PATIENT_ID]).get_indexer(division[PATIENT_ID])
    found = held_out_aurocs(embeddings, shuffled[codes], division[PART].to_numpy())
    found = found[np.isfinite(found)]
    if len(found) < 2 or np.ptp(found) == 0:
        return not_assessed("the division has nobody to fit on or to judge, or the embedding does not vary")
    return verdict(found, level)


def held_out_aurocs(embeddings: Array, labels: Array, parts: Array) -> Array:
    """(R,) AUROC of probes fitted on one side and judged on the other, for each column of `labels` (n, R)."""
    scores, rows = held_out_scores(embeddings, labels, parts), parts != TRAIN_ONLY
    return aurocs(labels[rows], scores[rows], parts[rows])


def verdict(found: Array, level: float) -> AuditFinding:
    p_value = float(ttest_1samp(found, 0.5, alternative="greater").pvalue)
    metrics = {"mean_auroc": float(found.mean()), "deviation": float(found.std(ddof=1))}
    metrics |= {"num_shuffles": len(found), "p_value": p_value}
    reached = f"labels shuffled over patients are told with an AUROC of {found.mean():.3f} on average"
    if p_value < level:
        summary = f"Labels reach the test set: {reached}, where 0.500 is all there can be. Is a patient on two sides?"
        return AuditFinding("labels leak", True, summary, metrics)
    summary = f"At chance, {reached}. This does not prove that nothing leaks: two names of one person stay unseen."
    return AuditFinding("at chance", False, summary, metrics)
