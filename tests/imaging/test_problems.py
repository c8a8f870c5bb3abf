from pathlib import Path

from pipeline.imaging.problems import CODES

PAGE = Path(__file__).parents[2] / "docs" / "scan_problems.md"


def test_page_shows_the_same_table_as_the_code():
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text(encoding="utf-8").splitlines() if "|" in line][2:]
    assert rows == [[name, code.verdict, code.meaning, code.remedy] for name, code in CODES.items()]
