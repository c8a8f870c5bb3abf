"""The outcome of checking many scans, for people and for programs."""

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pipeline.scans.checking.codes import CODES
from pipeline.scans.checking.scan import ScanCheck, check_scan
from pipeline.scans.formats.finding import find_scans


def report_scans(paths: list[Path], as_json: bool) -> int:
    """Check all scans at or below `paths` and write the outcome to stdout; 1 if any is rejected, else 0.

    Raises `ValueError` for a folder without scans.
    """
    checks = (check_scan(scan) for scan in all_scans(paths))
    if as_json:
        checks = list(checks)
        sys.stdout.write(json.dumps({"scans": [check.summary() for check in checks]}, indent=2) + "\n")
    else:
        checks = list(show_problems(checks))
        sys.stdout.write(table_of(checks))
    return int(any(check.verdict == "reject" for check in checks))


def all_scans(paths: list[Path]) -> list[Path]:
    """The scans at or below each path, each once."""
    scans: dict[Path, None] = {}
    for path in paths:
        found = list(find_scans(path))
        if not found:
            raise ValueError(f"{path}: no scans in this folder, expected .nii, .nii.gz, .hdr/.img or DICOM files.")
        scans |= dict.fromkeys(found)
    return list(scans)


def show_problems(checks: Iterable[ScanCheck]) -> Iterable[ScanCheck]:
    """Pass the checks on, writing a line a problem as each scan is done."""
    for check in checks:
        for problem in check.problems:
            sys.stdout.write(f"{problem.verdict:<6} {problem.code:<17} {check.path}: {problem.message}\n")
        yield check


def table_of(checks: list[ScanCheck]) -> str:
    """How many scans have each problem, and how many each verdict."""
    codes = Counter(code for check in checks for code in {problem.code for problem in check.problems})
    rows = [("scans", "verdict", "code", "problem")]
    for code, count in codes.most_common():
        rows.append((str(count), CODES[code].verdict, code, CODES[code].meaning))
    verdicts = Counter(check.verdict for check in checks)
    totals = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in ("ok", "warn", "reject"))
    lines = [f"{scans:>6}  {verdict:<7}  {code:<17}  {meaning}" for scans, verdict, code, meaning in rows]
    return "\n".join([*(lines if codes else ()), f"{len(checks)} scans: {totals}"]) + "\n"
