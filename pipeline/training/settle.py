"""Training settings in numbers: what the config leaves to `auto` comes from the plan."""

from pipeline.config import Plan, Training

FROM_PLAN = ("batch_size", "accumulate", "max_epochs")


def settle(training: Training, plan: Plan) -> Training:
    """The same settings with every `auto` replaced by the plan's advice."""
    decided = {key: getattr(plan, key) for key in FROM_PLAN if getattr(training, key) == "auto"}
    if training.patience == "auto":
        # Patience is a share of the plan's epochs, and means nothing for another number of them.
        decided["patience"] = plan.patience if training.max_epochs == "auto" else None
    return training.model_copy(update=decided)
