import pytest
from statsmodels.stats.power import normal_power

from pipeline.evaluation.uncertainty.estimates import (
    Estimate,
    minimum_detectable_auroc_difference,
    minimum_detectable_difference,
)


def test_the_smallest_difference_is_found_in_four_of_five_studies():
    """Against statsmodels, whose power is that of a standardized effect: difference over its standard error."""
    assert normal_power(minimum_detectable_difference(0.03) / 0.03, 1, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_it_follows_the_width_of_the_interval_and_is_undefined_without_one():
    wide, narrow = (Estimate(0.8, 0.8 - half, 0.8 + half, 60) for half in (0.10, 0.05))
    assert minimum_detectable_auroc_difference(wide, 0.95).value == pytest.approx(
        2 * minimum_detectable_auroc_difference(narrow, 0.95).value
    )
    nothing = minimum_detectable_auroc_difference(Estimate(0.8, None, None, 12, "6 patients of a class"), 0.95)
    assert (nothing.value, nothing.reason) == (None, "the AUROC has no interval: 6 patients of a class")
