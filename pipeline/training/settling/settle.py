"""Settings without `auto`: what the config leaves open comes from the plan, here and nowhere else."""

from pipeline.config import Config, Plan, Training
from pipeline.loading.augmentation.settings import decide_augmentation
from pipeline.training.settling.idle import refuse_idle_settings
from pipeline.training.settling.recipes import settle_model

FROM_PLAN = ("batch_size", "accumulate", "max_epochs")


def settle_config(config: Config, plan: Plan) -> Config:
    """The config as it is run, which is the one to write down."""
    config = config.model_copy(update={"model": settle_model(config.model, plan)})
    refuse_idle_settings(config)
    decided = {
        "augmentation": decide_augmentation(config.augmentation, config.cohort, plan),
        "training": settle_training(config.training, plan),
    }
    return config.model_copy(update=decided)


def settle_training(training: Training, plan: Plan) -> Training:
    """The same settings with every `auto` replaced by the plan's advice."""
    decided = {key: getattr(plan, key) for key in FROM_PLAN if getattr(training, key) == "auto"}
    if training.patience == "auto":
        # Patience is a share of the plan's epochs, and means nothing for another number of them.
        decided["patience"] = plan.patience if training.max_epochs == "auto" else None
    return training.model_copy(update=decided)
