"""Fitting a network on a fold, by gradient descent or, where it is frozen, by a head on its features."""

from collections.abc import Iterable

from lightning import Callback

from pipeline.artifacts import CohortPaths
from pipeline.config import Config
from pipeline.models import Network
from pipeline.training.build import build_classifier
from pipeline.training.fold import Fold
from pipeline.training.frozen import fit_frozen
from pipeline.training.keeping import Keeping
from pipeline.training.trainer import build_trainer


def fit(
    network: Network,
    fold: Fold,
    config: Config,
    *,
    keeping: Keeping,
    cohort: CohortPaths,
    watching: Iterable[Callback] = (),
) -> None:
    """Fit `network`, leaving what `keeping` keeps; those who are `watching` see each step before it is kept."""
    if config.model.freeze and config.model.lora is None:
        fit_frozen(network, fold, keeping, cohort, config.seed)
        return
    trainer = build_trainer(fold.training, [*watching, *keeping.callbacks])
    classifier = build_classifier(network, fold.training, fold.label_counts)
    trainer.fit(classifier, fold.scans, ckpt_path=keeping.resume_from, weights_only=True)
