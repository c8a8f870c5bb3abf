"""The check for leaks: what scans share that they should not, and whether it crosses the split."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.config import Cohort, Split
from pipeline.core.columns import DEVELOPMENT, PATIENT_ID, SCAN_ID, SPLIT
from pipeline.core.errors import did_you_mean
from pipeline.core.folds import fold_columns
from pipeline.core.ids import normalize_id, spelling_variants
from pipeline.core.io import expand, write_json
from pipeline.core.tables import read_table
from pipeline.imaging.io.discover import scan_files
from pipeline.splits.near_duplicates.descriptors import read_descriptors
from pipeline.splits.near_duplicates.search import find_near_duplicates
from pipeline.splits.partitions import group_of_scans, read_patients

MAX_NAMED = 4
"""Scans named in a message."""
HASHES = {"same-file": "file_sha256", "same-voxels": "voxel_sha256"}
"""The column of cohort.csv whose equal values make a finding of each kind."""
KINDS = (
    *("shared-patient", "shared-group", *HASHES, "near-duplicate", "patient-spelling", "pretraining", "statistics"),
)
"""Of findings; a kind may be accepted as a whole."""
MAX_LISTED = 20
"""Findings listed in an error."""
Leakage = dict[str, Any]
"""The content of leakage.json."""
Accepted = Mapping[str, str]
"""The reason, maybe empty, for each accepted code or kind."""


@dataclass(frozen=True)
class LeakFinding:
    """Scans that belong together; `across_splits` says whether they are in different partitions."""

    kind: str
    scans: tuple[str, ...]
    patients: tuple[str, ...]
    across_splits: bool
    message: str
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def code(self) -> str:
        """Its name in `split.accepted_leaks`: the kind and a digest of the scans."""
        return f"{self.kind}-{hashlib.sha256(chr(0).join(self.scans).encode()).hexdigest()[:8]}"


class SplitMembership:
    """The partition of each scan: its `split` and, for each repeat, the fold in which it validates or None."""

    def __init__(self, splits: pd.DataFrame) -> None:
        folds = splits[fold_columns(splits)].astype(object).where(lambda numbers: numbers.notna(), None)
        partitions = zip(splits[SPLIT], *(folds[column] for column in folds), strict=True)
        self.key_of = dict(zip(splits[SCAN_ID], partitions, strict=True))
        self.patient_of = dict(zip(splits[SCAN_ID], splits[PATIENT_ID], strict=True))

    def crosses_split(self, scans: Sequence[str]) -> bool:
        """Whether these scans are in more than one partition."""
        return len({self.key_of[scan] for scan in scans}) > 1

    def finding(
        self, kind: str, scans: Sequence[str], what: str, scores: dict[str, float] | None = None
    ) -> LeakFinding:
        """A finding about scans, with a message that names their partitions."""
        scans = sorted(scans)
        patients = tuple(sorted({self.patient_of[scan] for scan in scans}))
        across = self.crosses_split(scans)
        named = ", ".join(f"{scan} ({self.patient_of[scan]}, {self.partition_of(scan)})" for scan in scans[:MAX_NAMED])
        more = f" and {len(scans) - MAX_NAMED} more" if len(scans) > MAX_NAMED else ""
        verdict = "in different partitions" if across else "in one partition"
        return LeakFinding(kind, tuple(scans), patients, across, f"{what}, {verdict}: {named}{more}", scores or {})

    def finding_about_known(self, kind: str, scans: Sequence[str], what: str) -> LeakFinding:
        """A finding about scans that were used elsewhere before: it is a leak if they are evaluated."""
        found = self.finding(kind, scans, what)
        is_evaluated = any(self.is_evaluated(scan) for scan in found.scans)
        return replace(found, across_splits=is_evaluated, message=f"{what}: {', '.join(found.scans[:MAX_NAMED])}")

    def is_evaluated(self, scan: str) -> bool:
        """Whether a scan is ever in test or validation."""
        split, *folds = self.key_of[scan]
        return split != DEVELOPMENT or any(fold is not None for fold in folds)

    def partition_of(self, scan: str) -> str:
        """The name of a scan's partition, such as `development fold 2`."""
        split, fold = self.key_of[scan][:2]
        return split if fold is None else f"{split} fold {fold}"


def read_accepted(settings: Split) -> dict[str, str]:
    """Accepted codes and kinds with their reasons, from the config and from its file.

    Raises `ValueError` for a file without the columns code and reason, or with a code that has no reason.
    """
    accepted = dict.fromkeys(settings.accepted_leaks, "")
    if settings.accepted_leaks_file is None:
        return accepted
    path = expand(settings.accepted_leaks_file, "split.accepted_leaks_file")
    table = read_table(path, "split.accepted_leaks_file names it")
    missing = [column for column in ("code", "reason") if column not in table.columns]
    if missing:
        raise ValueError(f"{path}: no column {' and '.join(missing)}, got {', '.join(table.columns)}; add it.")
    without = table["code"][table["reason"].str.strip() == ""]
    if len(without):
        raise ValueError(f"{path}: {len(without)} codes have no reason, such as {without.iloc[0]}; write one for each.")
    return accepted | dict(zip(table["code"], table["reason"], strict=True))


def find_leaks(
    table: pd.DataFrame, splits: pd.DataFrame, cohort: Cohort, raw: Path, accepted: Accepted | None = None
) -> Leakage:
    """Check the rows of cohort.csv and their scans below `raw` against the rows of splits.csv."""
    membership, columns = SplitMembership(splits), cohort.columns
    findings = [
        *shared_values(table, membership, "shared-patient", PATIENT_ID, "one patient"),
        *(
            leak
            for name in columns.group
            for leak in shared_values(table, membership, "shared-group", name, f"one {name}")
        ),
        *copies(table, membership),
        *patients_with_two_spellings(table, membership),
        *known_patients(table, membership, cohort.split),
        *similar_scans(table, membership, group_of_scans(table, columns.group), raw, cohort.ingest.fill_nonfinite),
    ]
    return summarize(findings, read_accepted(cohort.split) if accepted is None else accepted, num_scans=len(table))


def summarize(findings: list[LeakFinding], accepted: Accepted, num_scans: int) -> Leakage:
    """The content of leakage.json."""
    reasons = {finding.code: reason_to_accept(finding, accepted) for finding in findings}
    leaks = [finding for finding in findings if finding.across_splits]
    is_open = any(reasons[finding.code] is None for finding in leaks)
    return {
        "verdict": "leaks" if is_open else "accepted" if leaks else "clean",
        "num_scans": num_scans,
        "num_accepted": dict(Counter(leak.kind for leak in leaks if reasons[leak.code] is not None)),
        "findings": [
            {
                "code": finding.code,
                **asdict(finding),
                "accepted": reasons[finding.code] is not None,
                "reason": reasons[finding.code] or None,
            }
            for finding in findings
        ],
    }


def reason_to_accept(finding: LeakFinding, accepted: Accepted) -> str | None:
    """The reason, maybe empty, by which a finding is accepted, alone or with its kind; None if it is not."""
    return accepted.get(finding.code, accepted.get(finding.kind))


def write_leakage(path: Path, leakage: Leakage) -> None:
    write_json(path, leakage)


def check_accepted(leakage: Leakage, accepted: Accepted) -> None:
    """Raise ValueError if an accepted code is no kind and belongs to no finding; the message lists findings."""
    messages = {entry["code"]: entry["message"] for entry in leakage["findings"]}
    for code in accepted:
        if code not in messages and code not in KINDS:
            found = list_findings(leakage["findings"]) or "  none"
            raise ValueError(
                f"split.accepted_leaks: there is no finding '{code}'.{did_you_mean(code, [*messages, *KINDS])} "
                "Its scans have changed, or it no longer exists; splits.csv was not written. Remove the code, or use "
                f"one of these:\n{found}"
            )


def check_leaks(leakage: Leakage, where: Path) -> None:
    """Raise ValueError with the findings that cross the split and were not accepted."""
    leaks = [entry for entry in leakage["findings"] if entry["across_splits"] and not entry["accepted"]]
    if leaks:
        raise ValueError(
            f"{where}: {len(leaks)} leaks across the split, expected none; splits.csv was not written. Give scans of "
            "one person one patient_id or a common value in columns.group, remove copies, or accept findings in "
            f"split.accepted_leaks by code or kind, or in split.accepted_leaks_file:\n{list_findings(leaks)}"
        )


def list_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    """A line per finding, the first MAX_LISTED of them."""
    lines = [f"  {entry['code']}: {entry['message']}" for entry in findings[:MAX_LISTED]]
    more = len(findings) - MAX_LISTED
    return "\n".join([*lines, *([f"  … and {more} more, all in leakage.json"] if more > 0 else [])])


def shared_values(
    table: pd.DataFrame, membership: SplitMembership, kind: str, column: str, what: str
) -> Iterator[LeakFinding]:
    """Values of a column that occur in more than one partition."""
    filled = table[table[column].astype(str) != ""]
    for value, scans in filled.groupby(column, sort=True)[SCAN_ID]:
        if membership.crosses_split(scans):
            yield membership.finding(kind, scans, f"{what} '{value}'")


def copies(table: pd.DataFrame, membership: SplitMembership) -> Iterator[LeakFinding]:
    """The same file, or the same voxels in another file, under two scan ids."""
    reported: set[tuple[str, ...]] = set()
    for kind, column in HASHES.items():
        for _, scans in table.groupby(column, sort=False)[SCAN_ID]:
            if len(scans) > 1 and tuple(sorted(scans)) not in reported:
                reported.add(tuple(sorted(scans)))
                yield membership.finding(kind, scans, kind.replace("-", " "))


def patients_with_two_spellings(table: pd.DataFrame, membership: SplitMembership) -> Iterator[LeakFinding]:
    """Patient ids that differ only in spelling."""
    for ids in spelling_variants(table[PATIENT_ID]):
        scans = table[SCAN_ID][table[PATIENT_ID].isin(ids)]
        yield membership.finding(
            "patient-spelling", scans, f"patient ids {', '.join(map(repr, ids))} that differ only in spelling"
        )


def known_patients(table: pd.DataFrame, membership: SplitMembership, settings: Split) -> Iterator[LeakFinding]:
    """Patients of the given lists: evaluating on them does not test generalization."""
    lists = {
        "pretraining": (settings.pretraining_patients, "was seen in pretraining"),
        "statistics": (settings.statistics_patients, "was used to fit statistics"),
    }
    for kind, (file, what) in lists.items():
        known = read_patients(file, key=f"split.{kind}_patients") if file else set()
        for patient, scans in table.groupby(PATIENT_ID)[SCAN_ID]:
            if normalize_id(patient) in known:
                yield membership.finding_about_known(kind, scans, f"patient '{patient}' {what}")


def similar_scans(
    table: pd.DataFrame, membership: SplitMembership, groups: pd.Series, raw: Path, fill: float | None
) -> Iterator[LeakFinding]:
    """Scans of different groups that show the same content in a channel; `copies` reports equal voxels."""
    partitions = [membership.key_of[scan] for scan in table[SCAN_ID]]
    scans = table[[SCAN_ID, "voxel_sha256"]].assign(
        group=pd.factorize(groups)[0], partition=pd.factorize(pd.Index(partitions))[0]
    )
    reported: set[frozenset[str]] = set()
    for files in zip(*(scan_files(row, raw).channels for row in table.to_dict("records")), strict=True):
        present = scans[[file is not None for file in files]]
        descriptors = read_descriptors([file for file in files if file is not None], fill)
        for pair in find_near_duplicates(descriptors, present["group"].to_numpy(), present["partition"].to_numpy()):
            two = present.iloc[[pair.first, pair.second]]
            if two["voxel_sha256"].nunique() == 2 and frozenset(two[SCAN_ID]) not in reported:
                reported.add(frozenset(two[SCAN_ID]))
                scores = {"as_saved": round(pair.screened, 3), "fitted": round(pair.fitted, 3)}
                what = f"the same content in two scans (similarity {pair.fitted:.2f})"
                yield membership.finding("near-duplicate", tuple(two[SCAN_ID]), what, scores)
