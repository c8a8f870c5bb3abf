"""The leak gate: everything that ties scans together, held against the split.

leakage.json is {"verdict": "clean" | "leaks" | "accepted", "num_scans", "findings": [{code, kind, scans, patients,
scores, across_splits, accepted, message}]}. Only findings across the split are leaks; the others are told because a
scan that stands twice on one side still counts twice.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts import PATIENT_ID, SCAN_ID
from pipeline.config import Cohort
from pipeline.errors import did_you_mean
from pipeline.files import write_json
from pipeline.scans.scan_files import files_of
from pipeline.splits.duplicates import near_duplicates
from pipeline.splits.findings import Finding, Sides
from pipeline.splits.grouping import group_of_scans
from pipeline.splits.identities import plain_spelling, read_patients, respelled
from pipeline.splits.signatures import Signatures, take_signatures

Leakage = dict[str, Any]
"""The content of leakage.json."""
HASHES = {"same-file": "file_sha256", "same-voxels": "voxel_sha256"}


def find_leaks(table: pd.DataFrame, splits: pd.DataFrame, cohort: Cohort, raw: Path) -> Leakage:
    """Check the rows of cohort.csv and their scans below `raw` against the rows of splits.csv.

    Raises ValueError where a finding is accepted that is not there.
    """
    sides, columns = Sides(splits), cohort.columns
    files = [files_of(row, raw).first for row in table.to_dict("records")]
    signatures = take_signatures(files, cohort.ingest.fill_nonfinite)
    findings = [
        *shared(table, sides, "shared-patient", PATIENT_ID, "one patient"),
        *(finding for name in columns.group for finding in shared(table, sides, "shared-group", name, f"one {name}")),
        *copies(table, sides),
        *two_spellings(table, sides),
        *seen_in_pretraining(table, sides, cohort.split.pretraining_patients),
        *similar(table, sides, group_of_scans(table, columns.group), signatures),
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


def seen_in_pretraining(table: pd.DataFrame, sides: Sides, file: str | None) -> Iterator[Finding]:
    """Patients of the list, if there is one: whoever is evaluated on them is not evaluated on strangers."""
    if file is None:
        return
    seen = read_patients(file)
    for patient, scans in table.groupby(PATIENT_ID)[SCAN_ID]:
        if plain_spelling(patient) in seen:
            yield sides.finding_of_known("pretraining", scans, f"patient '{patient}' was seen in pretraining")


def similar(table: pd.DataFrame, sides: Sides, groups: pd.Series, signatures: Signatures) -> Iterator[Finding]:
    """Scans of different groups that show the same content; equal voxels are told by `copies`."""
    pairs = near_duplicates(signatures, pd.factorize(groups)[0])
    scans, voxels = table[SCAN_ID].tolist(), table["voxel_sha256"].tolist()
    for pair in pairs:
        if voxels[pair.first] != voxels[pair.second]:
            scores = {"as_saved": round(pair.screened, 3), "fitted": round(pair.fitted, 3)}
            what = f"the same content in two scans ({pair.fitted:.2f} alike)"
            yield sides.finding("near-duplicate", (scans[pair.first], scans[pair.second]), what, scores)


def judge(findings: list[Finding], accepted: Collection[str], num_scans: int) -> Leakage:
    """The content of leakage.json. A leak is accepted by its code."""
    codes = {finding.code for finding in findings}
    for code in accepted:
        if code not in codes:
            raise ValueError(
                f"split.accepted_leaks: there is no finding '{code}'.{did_you_mean(code, codes)} "
                f"Found: {', '.join(sorted(codes)) or 'none'}; take it out."
            )
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
