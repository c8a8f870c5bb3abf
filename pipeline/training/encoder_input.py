"""Does a cohort give a pretrained encoder the input that its passport asks for, and may it have seen the patients?"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.config import Cohort, Config, Model, Passport, Plan
from pipeline.models.pretrained.encoders import PREFIX, passport_file, read_passport

log = logging.getLogger(__name__)


def check_encoders(config: Config, plan: Plan) -> None:
    """ValueError if an encoder of the config's model expects another input, or nobody says whether it saw the patients.

    `config` has a resolved model.
    """
    for name, settings in encoders_of(config.model):
        passport = read_passport(name)
        wrong = [*other_model(passport, settings), *other_input(passport, config.cohort, plan)]
        if wrong:
            raise ValueError(
                f"{passport_file(name)}: encoder '{name}' expects {'; '.join(wrong)}; change that in "
                f"configs/cohorts/{config.cohort.name}.yaml or in the model, or choose another encoder."
            )
        check_overlap(name, passport, config.cohort)


def encoders_of(model: Model) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The name of each encoder with a passport, and the section `model` or the member of a stack that uses it."""
    members = model.options.get("members")
    for settings in (model.model_dump(), *(members.values() if isinstance(members, dict) else ())):
        pretrained = str(settings.get("pretrained") or "")
        if pretrained.startswith(f"{PREFIX}:"):
            yield pretrained.removeprefix(f"{PREFIX}:"), settings


def other_model(passport: Passport, settings: Mapping[str, Any]) -> Iterator[str]:
    """What differs from the network that the weights fit."""
    options = settings.get("options") or {}
    if settings.get("name") != passport.model:
        yield f"model.name={passport.model}, got {settings.get('name')}"
    for key, value in passport.options.items():
        # In 2D the volume mode sets it.
        if as_list(options.get(key)) != as_list(value):
            yield f"model.options.{key}={value}, got {options.get(key)}"


def other_input(passport: Passport, cohort: Cohort, plan: Plan) -> Iterator[str]:
    """What differs from the input that the weights were trained on."""
    wanted = passport.input
    if wanted.channels and plan.in_channels not in (1, wanted.channels):
        yield f"1 or {wanted.channels} channels, got {plan.in_channels}"
    if wanted.modality and cohort.modality not in wanted.modality:
        yield f"modality={' or '.join(wanted.modality)}, got {cohort.modality}"
    for key in ("orientation", "spacing_mm", "intensity"):
        expected, found = (shown(getattr(section, key)) for section in (wanted, plan))
        if getattr(wanted, key) is not None and expected != found:
            yield f"preprocess.{key}={expected}, got {found}"


def shown(value: Any) -> Any:
    """A value of a config as it is written."""
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else as_list(value)


def as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def check_overlap(name: str, passport: Passport, cohort: Cohort) -> None:
    """ValueError without an answer whether patients of the cohort shaped the weights; a warning where it is unknown."""
    if not passport.patient_cohorts:
        return
    answer = cohort.encoder_overlap.get(name)
    seen = f"encoder '{name}' was trained on patients ({'; '.join(passport.patient_cohorts)})"
    if answer is None:
        raise ValueError(
            f"{seen}: are any of cohort '{cohort.name}' among them? Answer encoder_overlap: {{{name}: none}} in "
            f"configs/cohorts/{cohort.name}.yaml, or {{{name}: unknown}}, which the report shows; if some are, choose "
            "another encoder."
        )
    if answer == "unknown":
        log.warning("warning: %s, and whether any of cohort '%s' are among them is unknown", seen, cohort.name)
