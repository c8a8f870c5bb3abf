"""What simpler predictors reach, and what the model adds to them.

A logistic regression on a small blurred volume, and one on summaries of the intensities, beside those on the tables'
columns. A model that is not shown to beat a blur or a histogram has not been shown to need more than that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.audits.finding import LEVEL, AuditFinding, not_assessed
from pipeline.evaluation.audits.null_models import NUM_SHUFFLES, Shuffled, p_value
from pipeline.evaluation.baselines import Baseline, compare_with_baseline, fit_and_score, held_out_probs
from pipeline.evaluation.comparison import holm
from pipeline.evaluation.sample import Array, Sample
from pipeline.evaluation.uncertainty.methods import FEWEST_PATIENTS

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
NUM_FOLDS = 5


def image_baselines(
    sample: Sample, patients: pd.Series, splits: pd.DataFrame, summaries: Mapping[str, pd.DataFrame], confidence: float
) -> list[Baseline]:
    """A baseline for each of `summaries`, features by patient; `patients` names those of the sample's rows."""
    if sample.patients_of_class.min() < FEWEST_PATIENTS:
        reason = f"under {FEWEST_PATIENTS} patients of a class"
        return [Baseline(name, "image", sample.num_patients, reason=reason) for name in summaries]
    positive = sample.class_names[1]
    probs = {
        name: held_out_probs(features, splits, positive, patients, penalised) for name, features in summaries.items()
    }
    return [compare_with_baseline(sample, scores, name, "image", confidence) for name, scores in probs.items()]


def penalised(seen: Array, is_positive: Array, assessed: Array) -> Array:
    """A logistic regression whose penalty is chosen among the seen: there are more features than patients."""
    num_folds = min(NUM_FOLDS, is_positive.sum(), (~is_positive).sum())
    if num_folds < 2:
        return fit_and_score(seen, is_positive, assessed)
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    penalties = {"logisticregression__C": INVERSE_PENALTIES}
    search = GridSearchCV(regression, penalties, scoring="neg_log_loss", cv=int(num_folds))
    return search.fit(seen, is_positive).predict_proba(assessed)[:, 1]


def signal_p_values(
    features: Mapping[str, pd.DataFrame],
    splits: pd.DataFrame,
    positive: str,
    asked: Sequence[str],
    seed: int = 0,
    num_shuffles: int = NUM_SHUFFLES,
) -> dict[str, float]:
    """Of each predictor's features telling nothing about the `asked` patients, by probes fitted to shuffled labels."""
    shuffled = Shuffled.of(splits, positive, num_shuffles, seed)
    reached = {name: shuffled.aurocs(shuffled.scores(known), asked) for name, known in features.items()}
    return {name: p_value(found[0], found[1:]) for name, found in reached.items()}


def audit_simple_baselines(
    baselines: list[Baseline], p_values: Mapping[str, float], *, level: float = LEVEL
) -> AuditFinding:
    """Is there a simple predictor that works, and that the model is not shown to beat? `p_values` by predictor."""
    assessed = [baseline for baseline in baselines if baseline.advantage is not None]
    if not assessed:
        return not_assessed("; ".join(dict.fromkeys(f"{baseline.name}: {baseline.reason}" for baseline in baselines)))
    works = holm(np.array([p_values[baseline.name] for baseline in assessed])) < level
    working = [baseline for baseline, does in zip(assessed, works, strict=True) if does]
    unbeaten = [baseline for baseline in working if baseline.advantage_low <= 0]
    metrics = {"predictors": [asdict(baseline) for baseline in baselines]}
    if unbeaten:
        named = ", ".join(f"{baseline.name} ({baseline.auroc:.3f})" for baseline in unbeaten)
        summary = f"The model is not shown to beat what these reach alone, as AUROC: {named}."
        return AuditFinding("not shown to beat a simple predictor", True, summary, metrics)
    if working:
        named = ", ".join(f"{baseline.name} (by {baseline.advantage:.3f})" for baseline in working)
        return AuditFinding("beats simple predictors", False, f"The model ranks patients better than {named}.", metrics)
    return AuditFinding("simple predictors fail", False, "No simple predictor is shown to beat chance.", metrics)
