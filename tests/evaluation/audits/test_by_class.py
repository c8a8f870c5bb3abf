from pipeline.evaluation.audits.by_class import combine
from pipeline.evaluation.audits.finding import LEVEL, Finding, not_judged
from pipeline.evaluation.audits.permutation import enough_shuffles

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
