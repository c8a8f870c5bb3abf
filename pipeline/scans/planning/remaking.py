"""Planning again where plan.yaml stands already: what was edited there is kept and shown as edited."""

from pathlib import Path

import pandas as pd

from pipeline.config import Cohort, Plan
from pipeline.config.load import check_file
from pipeline.scans.planning.file import edits_of, mark
from pipeline.scans.planning.making import configured, make_plan
from pipeline.scans.planning.training import Machine


def replan(
    cohort: Cohort, table: pd.DataFrame, splits: pd.DataFrame, raw: Path, earlier: Path, machine: Machine
) -> Plan:
    """The plan of a cohort with the edits of the plan in the file `earlier`, which need not exist."""
    as_planned = make_plan(cohort, table, splits, raw, machine)
    if not earlier.exists():
        return mark(as_planned, as_planned, edited={})
    before = check_file(Plan, earlier)
    edited = {key: value for key, value in edits_of(before).items() if key not in configured(cohort)}
    if not edited:
        return mark(as_planned, as_planned, edited={})
    return mark(make_plan(cohort, table, splits, raw, machine, edits=edited), as_planned, edited)
