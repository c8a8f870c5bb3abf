"""One line of a plan: a value and the reason for it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Decision(Generic[Value]):
    """A value of plan.yaml and the reason that is written beside it."""

    value: Value
    reason: str


Decisions = Mapping[str, Decision]
"""Lines of plan.yaml by their key."""
