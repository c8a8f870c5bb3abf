"""Init: draft a cohort's config from a folder of scans and a table of labels.

Reads   SCANS, TABLE (CSV with any separator, TSV, Excel or Parquet)
Writes  configs/cohorts/<name>.yaml
"""

import argparse
import sys
from pathlib import Path

from pipeline.config.cli import describe
from pipeline.core.errors import did_you_mean

ROLES = ("scan_id", "patient_id", "path", "label")


def init(arguments: argparse.Namespace) -> None:
    """Guess which column is what, ask for what must not be guessed, write the config, say what to run next."""
    from pipeline.cohorts.init_config import Answers, draft_cohort, write_draft
    from pipeline.config.load import COHORTS

    given = {role: getattr(arguments, role) for role in ROLES if getattr(arguments, role)}
    answers = Answers(arguments.positive_class, arguments.modality, arguments.laterality)
    asking = ask if sys.stdin.isatty() else None
    cohort = draft_cohort(arguments.scans, arguments.table, arguments.name, given, answers, asking)
    path = write_draft(cohort, COHORTS)
    sys.stdout.write(f"{path.read_text(encoding='utf-8')}\nWrote {path}. Next: dvc exp run -S cohort={cohort.name}\n")


def ask(question: str, choices: tuple[str, ...]) -> str:
    """Ask on the terminal until the answer is one of the choices."""
    while True:
        answer = input(f"{question.replace('_', ' ')} ({', '.join(choices)}): ").strip()
        if answer in choices:
            return answer
        sys.stdout.write(f"'{answer}' is none of them.{did_you_mean(answer, choices)}\n")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.init", description=init.__doc__, allow_abbrev=False)
    parser.add_argument("scans", type=Path, metavar="SCANS", help="folder that paths in the table start from")
    parser.add_argument("table", type=Path, metavar="TABLE", help="a row a scan: CSV, TSV, Excel or Parquet")
    parser.add_argument("--name", help="of the cohort (default: the folder's)")
    parser.add_argument("--positive-class", metavar="CLASS", help="the class whose probability is reported")
    parser.add_argument("--modality", help="CT, MR, PET, mask or other")
    parser.add_argument("--laterality", help="relevant, or irrelevant where left and right may be swapped")
    for role in ROLES:
        help_text = f"which column is the {role.replace('_', ' ')} (default: guessed)"
        parser.add_argument(f"--{role.replace('_', '-')}", metavar="COLUMN", help=help_text)
    return parser.parse_args(words)


if __name__ == "__main__":
    arguments = parse()
    try:
        init(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {describe(error)}")
    except (KeyboardInterrupt, EOFError):
        sys.exit(130)
