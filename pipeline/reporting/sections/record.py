"""What a page says about how it came to be: plan, config and provenance."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core.provenance import without_places
from pipeline.reporting.inputs import RunFacts

LIBRARIES = ("torch", "monai", "lightning", "numpy", "scikit-learn")
NOT_DECISIONS = ("reasons", "digests", "measured", "forecast")


@dataclass(frozen=True)
class PlanRow:
    name: str
    value: str
    reason: str


def plan_rows(plan: dict[str, Any] | None) -> list[PlanRow]:
    """Each decision of plan.yaml with its reason."""
    if plan is None:
        return []
    reasons = plan.get("reasons", {})
    return [
        PlanRow(key.replace("_", " "), spell(value), reasons.get(key, ""))
        for key, value in plan.items()
        if key not in NOT_DECISIONS
    ]


def spell(value: Any) -> str:
    """A value of YAML on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {spell(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return " × ".join(spell(inner) for inner in value)
    return "not set" if value is None else str(value)


def config_text(config: dict[str, Any] | None) -> str | None:
    """The config as YAML, without the folders of its machine: pages are passed on."""
    if config is None:
        return None
    text = StringIO()
    YAML(typ="safe", pure=True).dump(without_places(config), text)
    return text.getvalue()


def provenance(run: RunFacts, root: Path) -> list[tuple[str, str]]:
    """Revision, versions, and the digest of the table that all figures come from."""
    libraries = ", ".join(f"{name} {found}" for name in LIBRARIES if (found := installed(name)))
    return [
        ("Code revision", revision(root)),
        ("Predictions (SHA-256)", run.predictions_digest or "not available"),
        ("Python", platform.python_version()),
        ("Libraries", libraries),
    ]


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def revision(root: Path) -> str:
    """The commit the code stands at; `-dirty` where files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=root, capture_output=True, text=True, check=False
    )
    return described.stdout.strip() or "not under version control"
