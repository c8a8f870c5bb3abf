"""A finding of the leak gate: what two scans share that they should not, and whether it crosses the split."""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import Cohort, Plan, Split
from pipeline.core.columns import DEVELOPMENT, PATIENT_ID, SCAN_ID, SPLIT, TEST
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns
from pipeline.core.io import write_json
from pipeline.imaging.io.discover import files_of
from pipeline.planning.plan_file import edits_of
from pipeline.splits.groups import group_of_scans, plain_spelling, read_patients, respelled
from pipeline.splits.near_duplicates.descriptors import take_signatures
from pipeline.splits.near_duplicates.search import near_duplicates

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


Leakage = dict[str, Any]
"""The content of leakage.json."""
HASHES = {"same-file": "file_sha256", "same-voxels": "voxel_sha256"}


def find_leaks(
    table: pd.DataFrame, splits: pd.DataFrame, cohort: Cohort, raw: Path, plan: Plan | None = None
) -> Leakage:
    """Check the rows of cohort.csv and their scans below `raw` against the rows of splits.csv.

    `plan` is an earlier plan.yaml, whose edited lines will be kept.
    """
    sides, columns = Sides(splits), cohort.columns
    findings = [
        *shared(table, sides, "shared-patient", PATIENT_ID, "one patient"),
        *(finding for name in columns.group for finding in shared(table, sides, "shared-group", name, f"one {name}")),
        *copies(table, sides),
        *two_spellings(table, sides),
        *known_patients(table, sides, cohort.split),
        *planned_on_test(sides, plan),
        *similar(table, sides, group_of_scans(table, columns.group), raw, cohort.ingest.fill_nonfinite),
    ]
    return judge(findings, cohort.split.accepted_leaks, num_scans=len(table))


def shared(table: pd.DataFrame, sides: Sides, kind: str, column: str, what: str) -> Iterator[Finding]:
    """Values of a column that stand on more than one side."""
    filled = table[table[column].astype(str) != ""]
    for value, scans in filled.groupby(column, sort=True)[SCAN_ID]:
        if sides.cross(scans):
            yield sides.finding(kind, scans, f"{what} '{value}'")


def copies(table: pd.DataFrame, sides: Sides) -> Iterator[Finding]:
    """The same file, or else the same voxels in another file, under two ids."""
    told: set[tuple[str, ...]] = set()
    for kind, column in HASHES.items():
        for _, scans in table.groupby(column, sort=False)[SCAN_ID]:
            if len(scans) > 1 and tuple(sorted(scans)) not in told:
                told.add(tuple(sorted(scans)))
                yield sides.finding(kind, scans, kind.replace("-", " "))


def two_spellings(table: pd.DataFrame, sides: Sides) -> Iterator[Finding]:
    for ids in respelled(table[PATIENT_ID]):
        scans = table[SCAN_ID][table[PATIENT_ID].isin(ids)]
        yield sides.finding("patient-spelling", scans, f"one patient under the names {', '.join(map(repr, ids))}?")


def known_patients(table: pd.DataFrame, sides: Sides, settings: Split) -> Iterator[Finding]:
    """Patients of the lists, if there are any: whoever is evaluated on them is not evaluated on strangers."""
    lists = {
        "pretraining": (settings.pretraining_patients, "was seen in pretraining"),
        "statistics": (settings.statistics_patients, "is among those that statistics were fitted on"),
    }
    for kind, (file, what) in lists.items():
        known = read_patients(file, key=f"split.{kind}_patients") if file else set()
        for patient, scans in table.groupby(PATIENT_ID)[SCAN_ID]:
            if plain_spelling(patient) in known:
                yield sides.finding_of_known(kind, scans, f"patient '{patient}' {what}")


def planned_on_test(sides: Sides, plan: Plan | None) -> Iterator[Finding]:
    """An edited plan is kept, so it must not rest on what its measurements said of scans that are test scans now."""
    if plan is None or not edits_of(plan):
        return
    measured = [scan for scan in plan.measured if sides.is_test(scan)]
    if measured:
        yield sides.finding_of_known("statistics", measured, "plan.yaml is edited, and was measured on test scans")


def similar(table: pd.DataFrame, sides: Sides, groups: pd.Series, raw: Path, fill: float | None) -> Iterator[Finding]:
    """Scans of different groups that show the same content in a channel; equal voxels are told by `copies`."""
    places = [sides.side_of[scan] for scan in table[SCAN_ID]]
    facts = table[[SCAN_ID, "voxel_sha256"]].assign(
        group=pd.factorize(groups)[0], place=pd.factorize(pd.Index(places))[0]
    )
    told: set[frozenset[str]] = set()
    for files in zip(*(files_of(row, raw).channels for row in table.to_dict("records")), strict=True):
        there = facts[[file is not None for file in files]]
        signatures = take_signatures([file for file in files if file is not None], fill)
        for pair in near_duplicates(signatures, there["group"].to_numpy(), there["place"].to_numpy()):
            two = there.iloc[[pair.first, pair.second]]
            if two["voxel_sha256"].nunique() == 2 and frozenset(two[SCAN_ID]) not in told:
                told.add(frozenset(two[SCAN_ID]))
                scores = {"as_saved": round(pair.screened, 3), "fitted": round(pair.fitted, 3)}
                what = f"the same content in two scans ({pair.fitted:.2f} alike)"
                yield sides.finding("near-duplicate", tuple(two[SCAN_ID]), what, scores)


def judge(findings: list[Finding], accepted: Collection[str], num_scans: int) -> Leakage:
    """The content of leakage.json. A leak is accepted by its code."""
    leaks = [finding for finding in findings if finding.across_splits]
    is_open = any(finding.code not in accepted for finding in leaks)
    return {
        "verdict": "leaks" if is_open else "accepted" if leaks else "clean",
        "num_scans": num_scans,
        "findings": [
            {"code": finding.code, **asdict(finding), "accepted": finding.code in accepted} for finding in findings
        ],
    }


def write_leakage(path: Path, leakage: Leakage) -> None:
    write_json(path, leakage)


def check_accepted(leakage: Leakage, accepted: Collection[str]) -> None:
    """Raise ValueError where a finding is accepted that is not there, with all that are."""
    messages = {entry["code"]: entry["message"] for entry in leakage["findings"]}
    for code in accepted:
        if code not in messages:
            found = "\n".join(f"  {known}: {message}" for known, message in messages.items()) or "  nothing"
            raise ValueError(
                f"split.accepted_leaks: there is no finding '{code}'.{did_you_mean(code, messages)} Scans joined it or "
                f"left it, or it is gone; splits.csv was not written. Take it out, or name one that was found:\n{found}"
            )


def stop_at_leaks(leakage: Leakage, where: Path) -> None:
    """Raise ValueError with every leak that was not accepted."""
    leaks = [entry for entry in leakage["findings"] if entry["across_splits"] and not entry["accepted"]]
    if leaks:
        lines = "\n".join(f"  {entry['code']}: {entry['message']}" for entry in leaks)
        raise ValueError(
            f"{where}: {len(leaks)} leaks across the split, expected none; splits.csv was not written. Give scans of "
            "one person one patient_id or a common column of columns.group, take copies out, or name a leak in "
            f"split.accepted_leaks:\n{lines}"
        )
