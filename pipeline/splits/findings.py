"""A finding of the leak gate: what two scans share that they should not, and whether it crosses the split."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from pipeline.core.columns import DEVELOPMENT, PATIENT_ID, SCAN_ID, SPLIT, TEST
from pipeline.core.folds import fold_columns

SHOWN = 4
"""Scans named in a message."""


@dataclass(frozen=True)
class Finding:
    """Scans that belong together; `across_splits` says that they do not stay together."""

    kind: str
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    across_splits: bool
    message: str
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """Its name in `split.accepted_leaks`: the kind and a digest of the scans, the same as long as they are."""
        return f"{self.kind}-{hashlib.sha256(chr(0).join(self.scans).encode()).hexdigest()[:8]}"


class Sides:
    """Where each scan stands: test, the fold in which it validates, or always training."""

    def __init__(self, splits: pd.DataFrame) -> None:
        folds = splits[fold_columns(splits)].astype(object).where(lambda numbers: numbers.notna(), None)
        places = zip(splits[SPLIT], *(folds[column] for column in folds), strict=True)
        self.side_of = dict(zip(splits[SCAN_ID], places, strict=True))
        self.patient_of = dict(zip(splits[SCAN_ID], splits[PATIENT_ID], strict=True))

    def cross(self, scans: Sequence[str]) -> bool:
        """Do these scans stand in more than one place?"""
        return len({self.side_of[scan] for scan in scans}) > 1

    def finding(self, kind: str, scans: Sequence[str], what: str, scores: dict[str, float] | None = None) -> Finding:
        """A finding about scans, with a message that says where they are."""
        scans = sorted(scans)
        patients = tuple(sorted({self.patient_of[scan] for scan in scans}))
        across = self.cross(scans)
        named = ", ".join(f"{scan} ({self.patient_of[scan]}, {self.place(scan)})" for scan in scans[:SHOWN])
        more = f" and {len(scans) - SHOWN} more" if len(scans) > SHOWN else ""
        verdict = "on different sides of the split" if across else "on one side of the split"
        return Finding(kind, tuple(scans), patients, across, f"{what}, {verdict}: {named}{more}", scores or {})

    def finding_of_known(self, kind: str, scans: Sequence[str], what: str) -> Finding:
        """A finding about scans that a network knows from elsewhere: it counts where they are evaluated."""
        found = self.finding(kind, scans, what)
        is_evaluated = any(self.is_evaluated(scan) for scan in found.scans)
        return replace(found, across_splits=is_evaluated, message=f"{what}: {', '.join(found.scans[:SHOWN])}")

    def is_test(self, scan: str) -> bool:
        """Is it locked away as test?"""
        return scan in self.side_of and self.side_of[scan][0] == TEST

    def is_evaluated(self, scan: str) -> bool:
        """Is it ever in test or validation?"""
        split, *folds = self.side_of[scan]
        return split != DEVELOPMENT or any(fold is not None for fold in folds)

    def place(self, scan: str) -> str:
        """Words for where a scan stands."""
        split, fold = self.side_of[scan][:2]
        return split if fold is None else f"{split} fold {fold}"
