"""What an audit says."""

from dataclasses import dataclass, field
from typing import Any

NOT_ASSESSED = "not assessed"
"""The verdict of an audit that lacks what it needs."""
LEVEL = 0.025
"""Chance of a false alarm that each audit allows itself: its tests have one side, as one of a two-sided 5 %."""


@dataclass(frozen=True)
class AuditFinding:
    """A verdict with the metrics behind it; what could not be assessed has a reason."""

    verdict: str
    """A few words that stand for themselves."""
    is_alarm: bool | None
    """None where nothing could be judged."""
    summary: str
    """What a reader should take from it."""
    metrics: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None


def not_assessed(reason: str) -> AuditFinding:
    return AuditFinding(NOT_ASSESSED, None, f"Not assessed: {reason}.", reason=reason)
