"""Settings that do nothing where a logistic head is fitted on frozen features; they are refused, not passed over."""

from collections.abc import Iterator
from typing import Any

from pipeline.config import Config

ACT = {"training.monitor", "training.class_weights"}
SO_ANYWAY = {"training.loss": "cross_entropy", "training.accelerator": "cpu", "training.batch_norm": "keep"}
"""Values that say what the fit of a head is."""
OFF: tuple[Any, ...] = (None, False, 0, "none")


def refuse_idle_settings(config: Config) -> None:
    """ValueError where a setting differs from its default and cannot act; `config` is as given, its model decided."""
    if config.model.learns_by_gradient:
        return
    idle = [f"{key}={value}" for key, value in idle_settings(config)]
    if idle:
        raise ValueError(
            "model.freeze: a logistic head is fitted on features that are computed once, so nothing comes of "
            f"{', '.join(idle)}; leave them out, or choose a model with freeze: false."
        )


def idle_settings(config: Config) -> Iterator[tuple[str, Any]]:
    """Keys with values, of training and augmentation."""
    for name, section in (("training", config.training), ("augmentation", config.augmentation)):
        for field, described in type(section).model_fields.items():
            key, value = f"{name}.{field}", getattr(section, field)
            if key not in ACT and value not in (described.default, SO_ANYWAY.get(key), *OFF):
                yield key, value
