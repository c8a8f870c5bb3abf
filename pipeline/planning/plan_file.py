"""plan.yaml: a value and its reason per line, with a digest, so that lines edited by hand are recognized and kept."""

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pipeline.config import Plan
from pipeline.core.io import write_text

log = logging.getLogger(__name__)

NOT_DECIDED = {"reasons", "digests", "measured", "reference", "cost_estimate", "standards", "max_epochs_from"}
"""Keys that describe the plan and are written again each time."""
BLOCKS = {"reasons", "digests"}
"""Keys that hold one line per decision."""


Value = TypeVar("Value")


@dataclass(frozen=True)
class Decision(Generic[Value]):
    """A value of plan.yaml and the reason that is written beside it."""

    value: Value
    reason: str


Decisions = Mapping[str, Decision]
"""Lines of plan.yaml by their key."""


def decided_values(plan: Plan) -> dict[str, Any]:
    """The values that a user can edit, as YAML has them."""
    return plan.model_dump(mode="json", exclude=NOT_DECIDED)


def find_overrides(plan: Plan) -> dict[str, Any]:
    """The lines of a plan file that were edited by hand; a line that the file lacks was not edited."""
    present = {key: value for key, value in decided_values(plan).items() if key in plan.model_fields_set}
    return {key: getattr(plan, key) for key, value in present.items() if digest(value) != plan.digests.get(key)}


def add_digests(plan: Plan, as_planned: Plan, overrides: Collection[str]) -> Plan:
    """The plan with its digests. An edited line keeps the digest of `as_planned`, the plan without any edits, and its
    reason says what the rules would have decided."""
    before, after = decided_values(as_planned), decided_values(plan)
    reasons = {
        key: f"{plan.reasons[key]}; the rules say {json.dumps(before[key])}: {as_planned.reasons[key]}"
        for key in overrides
    }
    digests = {key: digest(before[key] if key in overrides else value) for key, value in after.items()}
    return plan.model_copy(update={"reasons": plan.reasons | reasons, "digests": digests})


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def write_plan(path: Path, plan: Plan) -> None:
    """YAML for people to read and edit: one line per value and one per reason."""
    lines = []
    for key, value in plan.model_dump(mode="json").items():
        if key in BLOCKS:
            lines += [f"{key}:", *_block(value)]
        else:
            lines.append(f"{key}: {_as_yaml(value)}")
    write_text(path, "\n".join(lines) + "\n")


def _block(values: Mapping[str, object]) -> list[str]:
    return [f"  {name}: {_as_yaml(value)}" for name, value in values.items()]


def _as_yaml(value: object) -> str:
    """JSON, which is YAML on one line."""
    return json.dumps(value, ensure_ascii=False)


def log_plan(plan: Plan) -> None:
    """Log every line with its reason, and the estimated cost."""
    for key, value in decided_values(plan).items():
        log.info("%-13s %s  # %s", key, json.dumps(value), plan.reasons[key])
    if plan.cost_estimate:
        log.info("%-13s %s  # %s", "cost_estimate", plan.cost_estimate.model_dump_json(), plan.reasons["cost_estimate"])
