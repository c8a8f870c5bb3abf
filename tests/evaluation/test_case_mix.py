"""Case mix of the parts of a split, against values worked by hand."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.case_mix import case_mix, standardized_difference
from pipeline.evaluation.covariates import Covariates


def covariates(**columns) -> Covariates:
    """Nine development and three test patients, two scans each."""
    patients = [f"p{n}" for n in range(12) for _ in range(2)]
    table = pd.DataFrame({"patient_id": patients, "label": np.repeat(["ill", "well", "well"] * 4, 2)})
    table = table.assign(**{name: np.repeat(values, 2) for name, values in columns.items()})
    splits = table.assign(split=np.repeat(["development", "test"], [18, 6]), fold="0")
    return Covariates(table, splits, clinical=tuple(columns))


def test_numbers_have_quartiles_categories_shares_and_the_label_comes_first():
    ages = [str(40 + n) for n in range(12)]
    table = case_mix(covariates(age=ages, sex=["m", "f", "f"] * 4)).set_index(["covariate", "category", "split"])
    assert table.index[0][0] == "label"
    assert table.loc[("label", "ill", "test"), "value"] == pytest.approx(1 / 3)
    assert table.loc[("age", "", "development")][["value", "low_quartile", "high_quartile"]].tolist() == [44, 42, 46]
    assert table.loc[("sex", "f", "test"), ["num_patients", "value"]].tolist() == pytest.approx([3, 2 / 3])
    spread = np.sqrt((np.var(range(9), ddof=1) + np.var(range(3), ddof=1)) / 2)
    assert table.loc[("age", "", "test"), "difference"] == pytest.approx(6 / spread)
    assert np.isnan(table.loc[("age", "", "development"), "difference"])


def test_missing_values_are_a_row_and_are_left_out_of_the_others():
    table = case_mix(covariates(sex=["m", "", "f"] * 4)).set_index(["category", "split"])
    assert table.loc[("missing", "development"), "value"] == pytest.approx(1 / 3)
    assert table.loc[("m", "development"), ["num_patients", "value"]].tolist() == [6, 0.5]


def test_without_a_split_there_is_nothing_to_compare():
    assert case_mix(None).empty and case_mix(Covariates(pd.DataFrame({"patient_id": ["a"]}))).empty


def test_a_standardized_difference_is_one_for_groups_a_standard_deviation_apart():
    rng = np.random.default_rng(0)
    first = pd.Series(rng.normal(0, 2, 40_000))
    assert standardized_difference(first, first + 2) == pytest.approx(1, abs=0.01)
    assert standardized_difference(1000 * first, 1000 * first + 2000) == pytest.approx(1, abs=0.01)
    claims = [pd.Series(rng.random(40_000) < share) for share in (0.3, 0.5)]
    assert standardized_difference(*claims) == pytest.approx(0.2 / np.sqrt((0.21 + 0.25) / 2), abs=0.03)
