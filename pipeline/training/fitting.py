"""Fitting a network on a fold, by gradient descent or, where it is frozen, by a head on its features."""

from pipeline.config import Config
from pipeline.core.columns import TRAIN
from pipeline.core.paths import CohortPaths
from pipeline.data.augmentation.mixing import Mixer
from pipeline.models import Network
from pipeline.training.classifier import Classifier
from pipeline.training.failures import explained
from pipeline.training.fold import Fold
from pipeline.training.frozen import fit_frozen
from pipeline.training.keeping.keeping import Keeping
from pipeline.training.objective.deep_supervision import StageClassifiers, stage_channels
from pipeline.training.objective.losses import build_loss
from pipeline.training.optimisation.unfreezing import Unfreeze
from pipeline.training.trainer import build_trainer


def fit(network: Network, fold: Fold, config: Config, *, keeping: Keeping, cohort: CohortPaths) -> None:
    """Fit `network`, leaving what `keeping` keeps."""
    if not config.model.learns_by_gradient:
        fit_frozen(network, fold, keeping, cohort, config.fold_seed)
        return
    unfreezing = [Unfreeze(fold.training.unfreeze_every)] if fold.training.unfreeze_every else []
    trainer = build_trainer(fold.training, [*unfreezing, *keeping.callbacks])
    with explained(fold.training):
        classifier = build_classifier(network, fold, config)
        trainer.fit(classifier, fold.scans, ckpt_path=keeping.resume_from, weights_only=True)


def build_classifier(network: Network, fold: Fold, config: Config) -> Classifier:
    """The Lightning module of a network on a fold."""
    training, augmentation = fold.training, config.augmentation
    mixer = Mixer(augmentation.mixup, augmentation.cutmix, config.fold_seed)
    stage_classifiers = None
    if training.deep_supervision:
        channels = stage_channels(network, (fold.plan.in_channels, *fold.plan.size_voxels))
        stage_classifiers = StageClassifiers(channels, len(fold.classes), training.deep_supervision)
    if training.compile:
        network.compile()
    return Classifier(
        network,
        build_loss(training, fold.task, fold.class_counts, len(fold.rows[TRAIN])),
        training,
        task=fold.task,
        stage_classifiers=stage_classifiers,
        mix=mixer if mixer.is_on else None,
    )
