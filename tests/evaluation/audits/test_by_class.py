import numpy as np
import pandas as pd

from pipeline.evaluation.audits.by_class import combine
from pipeline.evaluation.audits.finding import LEVEL, Finding, not_judged
from pipeline.evaluation.audits.permutation import enough_shuffles
from pipeline.evaluation.audits.shortcut import judge_shortcut

QUIET, LOUD = Finding("at chance", False, "Nothing.", {"p": 0.5}), Finding("labels leak", True, "Look.", {"p": 0.0})


def test_one_class_with_an_alarm_is_an_alarm_about_it():
    found = combine({"a": QUIET, "b": LOUD, "c": LOUD})
    assert found.is_alarm and found.verdict == "labels leak (b, c)" and found.words == "b, c: Look."
    assert found.figures["of_class"]["a"] == {"p": 0.5}


def test_what_is_said_of_all_classes_is_said_once():
    found = combine({"a": QUIET, "b": QUIET, "c": not_judged("too few")})
    assert found.is_alarm is False and found.verdict == "at chance (a, b)"
    assert found.words == "a, b: Nothing. c: Not judged: too few."


def test_without_a_class_that_can_be_judged_nothing_is():
    found = combine({"a": not_judged("too few"), "b": not_judged("all alike")})
    assert found.is_alarm is None and found.reason == "a: too few; b: all alike"


def test_many_classes_get_shuffles_enough_for_a_p_value_under_their_share_of_the_level():
    """Adjusted over four tests, which is what the audits with the most of them adjust over."""
    for num_classes in (1, 3, 11, 40):
        level = LEVEL / num_classes
        assert 4 / (enough_shuffles(level) + 1) < level


def test_clean_cohorts_of_six_classes_raise_the_alarm_no_more_often_than_the_level_allows():
    """One cohort proves nothing: of 200, five are allowed one. With the whole level for each class it is 15 %."""
    shares = {count: np.mean([clean_alarm(seed, LEVEL / count) for seed in range(200)]) for count in (1, 6)}
    assert shares[6] <= 0.05 < shares[1]


def clean_alarm(seed: int, level: float) -> bool | None:
    """Six classes of 15 patients; acquisition follows no class, and each class has an answer of its own."""
    rng = np.random.default_rng(seed)
    classes, acquisition = np.repeat(np.arange(6), 15), rng.normal(size=90)
    cohort = pd.DataFrame({"part": 0, "acquisition": acquisition, "masked": np.nan, "file_size": np.nan}, range(90))
    tables = {
        str(k): cohort.assign(is_positive=classes == k, logit=(classes == k) + rng.normal(size=90)) for k in range(6)
    }
    return combine(
        {name: judge_shortcut(table, {}, enough_shuffles(level), seed, level=level) for name, table in tables.items()}
    ).is_alarm
