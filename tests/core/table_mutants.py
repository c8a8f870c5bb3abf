"""Damaged label tables: bytes flipped, cut, repeated or inserted; for Excel also inside its compressed parts.

`python -m tests.core.table_mutants 5000` tries as many of each format and prints what became of them.
"""

import io
import random
import sys
import time
from collections import Counter
from zipfile import ZIP_DEFLATED, ZipFile

import pandas as pd

from pipeline.cohorts.ingest import select_columns
from pipeline.cohorts.label_table import check_columns, check_rows, required_columns
from pipeline.cohorts.values import check_classes, plain_numbers, telling_problems
from pipeline.core.tables import parse_table
from tests.cohorts.eight_scans import cohort

INSERTED = (
    b"\x00",
    b"\r",
    b"\n",
    b'"',
    b";",
    b",",
    b"\t",
    b"\xff",
    b"\xfe\xff",
    b"NA",
    b"1e999",
    b"-",
    b"</c>",
    b"<row>",
)
SETTINGS = cohort(columns={"clinical": ["age"]})


def label_table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": [f"{number:03}" for number in range(16)],
            "patient_id": [f"p{number // 2}" for number in range(16)],
            "path": [f"scans/{number:03}.nii.gz" for number in range(16)],
            "label": ["ill", "ill", "fit", "fit"] * 4,
            "age": [f"{50 + number},5" for number in range(16)],
        }
    )


def sound(kind: str) -> bytes:
    if kind == "csv":
        return label_table().to_csv(index=False).encode()
    content = io.BytesIO()
    label_table().to_excel(content, index=False)
    return content.getvalue()


def mutate(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        place = chance.randrange(len(changed) or 1)
        match chance.randrange(5):
            case 0 if changed:
                changed[place % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                del changed[place : place + chance.choice((1, 10, 10_000))]
            case 2:
                changed[place:place] = changed[place : place + chance.choice((1, 30, 300))]
            case 3:
                changed[place:place] = chance.choice(INSERTED)
            case _:
                changed[place : place + 1] = chance.choice(INSERTED)
    return bytes(changed)


def mutate_part(workbook: bytes, chance: random.Random) -> bytes:
    """A workbook whose container is sound and of which one part is damaged."""
    with ZipFile(io.BytesIO(workbook)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = chance.choice(sorted(parts))
    parts[name] = mutate(parts[name], chance)
    content = io.BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as archive:
        for part, body in parts.items():
            archive.writestr(part, body)
    return content.getvalue()


def judge(content: bytes) -> str:
    """What the reader and the checks of ingest make of a table: `refused`, `problems` or `sound`."""
    try:
        table = parse_table(content, "labels")
    except ValueError as error:
        assert str(error).startswith("labels: ") and "\n" not in str(error), error
        return "refused"
    columns = SETTINGS.columns
    if not set(required_columns(columns)) <= set(table.columns):
        return "problems" if check_columns(table, columns) else "sound"
    numbers, problems = plain_numbers(table, columns)
    selected = select_columns(numbers, columns)
    problems = [*problems, *check_columns(numbers, columns), *check_rows(selected)]
    problems += [*check_classes(selected, SETTINGS), *telling_problems(numbers, columns)]
    return "problems" if problems else "sound"


def mutant_outcomes(kind: str, number: int, seed: int) -> Counter[str]:
    chance, content = random.Random(seed), sound(kind)
    outcomes: Counter[str] = Counter()
    for _ in range(number):
        inside = kind == "xlsx" and chance.random() < 0.7
        outcomes[judge((mutate_part if inside else mutate)(content, chance))] += 1
    return outcomes


if __name__ == "__main__":
    for kind in ("csv", "xlsx"):
        began = time.monotonic()
        outcomes = mutant_outcomes(kind, int(sys.argv[1]), seed=1)
        sys.stdout.write(f"{kind}: {dict(outcomes)} in {time.monotonic() - began:.0f} s\n")
