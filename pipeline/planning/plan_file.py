"""plan.yaml: written with a digest of each line, so that lines edited by hand are known and kept."""

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import Plan
from pipeline.core.io import write_text

log = logging.getLogger(__name__)

NOT_DECIDED = {"reasons", "digests", "measured", "forecast", "standards"}
"""Lines that say something about the plan, and are written anew each time."""
BLOCKS = {"reasons", "digests"}


def edits_of(plan: Plan) -> dict[str, object]:
    """The lines of a plan from disk that are not as they were planned; a line that is not there was not edited."""
    there = {key: value for key, value in decided(plan).items() if key in plan.model_fields_set}
    return {key: getattr(plan, key) for key, value in there.items() if digest(value) != plan.digests.get(key)}


def mark(plan: Plan, as_planned: Plan, edited: Mapping[str, object]) -> Plan:
    """The plan with its digests; an edited line keeps the digest of `as_planned`, which holds no edits, and says so."""
    before, after = decided(as_planned), decided(plan)
    told = {
        key: f"{plan.reasons[key]}; the rules say {json.dumps(before[key])}: {as_planned.reasons[key]}"
        for key in edited
    }
    digests = {key: digest(before[key] if key in edited else value) for key, value in after.items()}
    return plan.model_copy(update={"reasons": plan.reasons | told, "digests": digests})


def write_plan(path: Path, plan: Plan) -> None:
    """YAML for people to read and edit: a line each, and a line for each reason."""
    lines = []
    for key, value in plan.model_dump(mode="json").items():
        if key in BLOCKS:
            lines += [f"{key}:", *(f"  {name}: {as_yaml(item)}" for name, item in value.items())]
        else:
            lines.append(f"{key}: {as_yaml(value)}")
    write_text(path, "\n".join(lines) + "\n")


def as_yaml(value: object) -> str:
    """JSON, which is YAML on one line."""
    return json.dumps(value, ensure_ascii=False)


def decided(plan: Plan) -> dict[str, object]:
    """The lines that can be edited, as they stand in YAML."""
    return plan.model_dump(mode="json", exclude=NOT_DECIDED)


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def show(plan: Plan) -> None:
    """Log every line with its reason, and the forecast."""
    for key, value in decided(plan).items():
        log.info("%-13s %s  # %s", key, json.dumps(value), plan.reasons[key])
    if plan.forecast:
        log.info("%-13s %s  # %s", "forecast", plan.forecast.model_dump_json(), plan.reasons["forecast"])
