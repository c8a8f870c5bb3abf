"""Settings that do nothing where a logistic head is fitted on frozen features; they are refused, not passed over."""

from collections.abc import Iterator
from typing import Any

from pipeline.config import Config

ACT = {"training.monitor", "training.class_weights"}
SO_ANYWAY = {"training.loss": "cross_entropy", "training.accelerator": "cpu", "training.batch_norm": "keep"}
"""Values that say what the fit of a head is."""
OFF: tuple[Any, ...] = (None, False, 0, "none")


def refuse_idle_settings(config: Config, untouched: Config) -> None:
    """ValueError where a setting differs from its default and cannot act.

    `config` is as given, its model decided. `untouched` is what it would be run as with all settings at their defaults:
    such values stand in the config.yaml of a run, and ask for nothing.
    """
    if config.model.learns_by_gradient:
        return
    idle = [f"{key}={value}" for key, value in idle_settings(config, untouched)]
    if idle:
        raise ValueError(
            "model.freeze: a logistic head is fitted on features that are computed once, so nothing comes of "
            f"{', '.join(idle)}; leave them out, or choose a model with freeze: false."
        )


def idle_settings(config: Config, untouched: Config) -> Iterator[tuple[str, Any]]:
    """Keys with values, of training and augmentation."""
    for name in ("training", "augmentation"):
        section, settled = getattr(config, name), getattr(untouched, name)
        for field, described in type(section).model_fields.items():
            key, value = f"{name}.{field}", getattr(section, field)
            if key not in ACT and value not in (described.default, getattr(settled, field), SO_ANYWAY.get(key), *OFF):
                yield key, value
