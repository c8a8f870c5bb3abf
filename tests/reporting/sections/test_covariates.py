"""Covariates on the cohort page, against values worked by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.reporting.sections.covariates import covariate_table
from tests.reporting.example_pages import cohort_inputs, cohort_page, text_of


def test_covariates_are_compared_by_class_and_by_split(tmp_path):
    text = text_of(cohort_page(cohort_inputs(), tmp_path))
    ages = {"healthy": [42, 44, 45, 47, 48, 50, 51], "disease": [60, 63, 66, 69]}
    spread = np.sqrt(np.mean([np.var(values, ddof=1) for values in ages.values()]))
    assert f"age 47 (44.5 to 49) 64.5 (62.25 to 66.75) {(64.5 - np.mean(ages['healthy'])) / spread:.2f} △" in text
    assert "age: missing 1 (12%) 0 (0%) 0.53 △" in text
    assert "sex: m 50% 100% 1.41 △" in text and "site: north 100% 100% 0.00" in text
    assert "development (n = 9) locked test set (n = 3)" in text


def test_a_number_with_gaps_stays_a_number_and_three_groups_show_their_widest_gap():
    patients = pd.DataFrame({"age": [*map(str, range(20)), *[""] * 10]})
    groups = pd.Series(np.repeat(["a", "b", "c"], 10))
    rows = covariate_table(patients, ["age"], groups, ["a", "b", "c"], of="site").rows
    assert [row[0] for row in rows] == ["age", "age: missing"]
    assert rows[0][3] == "—" and float(rows[0][4].split()[0]) == pytest.approx(10 / np.std(range(10), ddof=1), abs=0.01)
