"""What runs are called and how they are grouped: still empty parcels."""

from collections.abc import Sequence
from hashlib import blake2s

from pipeline.config import Config
from pipeline.tracking.contents import Parcel
from pipeline.tracking.privacy import public_config


def fold_parcel(config: Config, run_id: str, key: str) -> Parcel:
    """The run of one training; its key, which the model file leads to, stands in the run's config."""
    return Parcel(
        run_id=run_id,
        name=f"{config.name}-fold{config.fold_number}-seed{config.fold_seed}",
        group=f"{config.cohort.name}-{config.name}",
        job_type="train",
        tags=(config.cohort.name, config.name, config.model.name),
        config={**public_config(config), "key": key},
        tracking=config.tracking,
    )


def summary_parcel(config: Config, run_ids: Sequence[str]) -> Parcel:
    """The one run over all trainings of a cohort; the same trainings have the same."""
    cohort = config.cohort.name
    return Parcel(
        run_id=blake2s(" ".join([cohort, *sorted(run_ids)]).encode(), digest_size=6).hexdigest(),
        name=f"{cohort}-summary",
        group=f"{cohort}-summary",
        job_type="track",
        tags=(cohort, "summary"),
        config={"cohort": public_config(config)["cohort"], "experiments": config.experiments, "folds": config.folds},
        tracking=config.tracking,
    )
