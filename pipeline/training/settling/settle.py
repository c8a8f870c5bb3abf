"""Settings without `auto`: what the config leaves open comes from the plan, here and nowhere else."""

import math

from pipeline.config import Augmentation, Config, Plan, Training
from pipeline.config.plan import EFFECTIVE_BATCH
from pipeline.data.augmentation.pipeline import decide_augmentation
from pipeline.training.settling.idle import refuse_idle_settings
from pipeline.training.settling.recipes import settle_model


def settle_config(config: Config, plan: Plan) -> Config:
    """The config as it is run, which is the one to write down."""
    config = config.model_copy(update={"model": settle_model(config.model, plan)})
    untouched = config.model_copy(update={"training": Training(), "augmentation": Augmentation()})
    refuse_idle_settings(config, without_auto(untouched, plan))
    return without_auto(config, plan)


def without_auto(config: Config, plan: Plan) -> Config:
    """The same config with the plan's values in place of every `auto` of training and augmentation."""
    decided = {
        "augmentation": decide_augmentation(config.augmentation, config.cohort, plan),
        "training": settle_training(config.training, plan),
    }
    return config.model_copy(update=decided)


def settle_training(training: Training, plan: Plan) -> Training:
    """The same settings with every `auto` replaced by the plan's advice, for the batch that is trained with."""
    batch_size = plan.batch_size if training.batch_size == "auto" else training.batch_size
    # As many steps as were planned take more epochs in larger batches.
    longer = batch_size / plan.batch_size if plan.is_length_by_steps else 1.0
    advice = {
        "batch_size": batch_size,
        "accumulate": plan.accumulate if batch_size == plan.batch_size else math.ceil(EFFECTIVE_BATCH / batch_size),
        "max_epochs": max(1, round(longer * plan.max_epochs)),
        # A share of the plan's epochs, which means nothing for another number of them.
        "patience": math.ceil(longer * plan.patience) if plan.patience and training.max_epochs == "auto" else None,
    }
    return training.model_copy(update={key: value for key, value in advice.items() if getattr(training, key) == "auto"})
