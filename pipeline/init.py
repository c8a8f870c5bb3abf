"""Init: draft a cohort's config from a folder of scans and a table of labels.

Reads   SCANS, TABLE (CSV with any separator, TSV, Excel or Parquet)
Writes  configs/cohorts/<name>.yaml
"""

import sys
from pathlib import Path
from typing import Annotated

from pipeline.core import cli
from pipeline.core.errors import did_you_mean


def init(
    scans: Annotated[Path, "folder that paths in the table start from"],
    table: Annotated[Path, "a row per scan: CSV, TSV, Excel or Parquet"],
    *,
    name: Annotated[str | None, "of the cohort (default: the folder's)"] = None,
    positive_class: Annotated[str | None, "the class whose probability is reported"] = None,
    modality: Annotated[str | None, "CT, MR, PET, mask or other"] = None,
    laterality: Annotated[str | None, "relevant, or irrelevant if left and right may be swapped"] = None,
    scan_id: Annotated[str | None, "column of the scan id (default: guessed)"] = None,
    patient_id: Annotated[str | None, "column of the patient id (default: guessed)"] = None,
    path: Annotated[str | None, "column of the path (default: guessed)"] = None,
    label: Annotated[str | None, "column of the label (default: guessed)"] = None,
) -> None:
    """Guess the role of each column, ask for what must not be guessed, write the config, and name the next command."""
    from pipeline.cohorts.init_config import Answers, draft_cohort, run_command, write_draft
    from pipeline.cohorts.values import telling_columns
    from pipeline.config.load import COHORTS
    from pipeline.core.tables import read_table

    roles = {"scan_id": scan_id, "patient_id": patient_id, "path": path, "label": label}
    given = {role: column for role, column in roles.items() if column}
    answers = Answers(positive_class, modality, laterality)
    cohort = draft_cohort(scans, table, name, given, answers, ask if sys.stdin.isatty() else None)
    written = write_draft(cohort, COHORTS, tuple(telling_columns(read_table(table), cohort.columns)))
    text = written.read_text(encoding="utf-8")
    preview = f"python -m pipeline.plan preview cohort={cohort.name}"
    sys.stdout.write(f"{text}\nWrote {written}. Next: {run_command(cohort)}\n")
    sys.stdout.write(f"After the plan stage, '{preview}' says how long each fold takes; folds=[0] is a first look.\n")


def ask(question: str, choices: tuple[str, ...]) -> str:
    """Ask on the terminal until the answer is one of the choices; a closed terminal counts as Ctrl-C."""
    while True:
        try:
            answer = input(f"{question.replace('_', ' ')} ({', '.join(choices)}): ").strip()
        except EOFError:
            raise KeyboardInterrupt from None
        if answer in choices:
            return answer
        sys.stdout.write(f"'{answer}' is not one of them.{did_you_mean(answer, choices)}\n")


if __name__ == "__main__":
    cli.run(init)
