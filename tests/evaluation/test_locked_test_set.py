from pathlib import Path

import pandas as pd

from pipeline.evaluation.locked_test_set import count_test_evaluations, recorded_evaluations


def test_each_new_set_of_test_predictions_is_a_look_and_the_same_again_is_none(
    make_predictions, tmp_path: Path
) -> None:
    table = make_predictions()
    assert count_test_evaluations(tmp_path, "one", table) == 1
    before = (tmp_path / "one.csv").read_bytes()
    assert count_test_evaluations(tmp_path, "one", table.sample(frac=1, random_state=0)) == 1
    assert (tmp_path / "one.csv").read_bytes() == before
    assert count_test_evaluations(tmp_path, "one", make_predictions(seed=1)) == 2


def test_looks_of_all_experiments_and_revisions_count_together(make_predictions, tmp_path: Path) -> None:
    assert count_test_evaluations(tmp_path, "one", make_predictions()) == 1
    assert count_test_evaluations(tmp_path, "two", make_predictions(seed=1)) == 2
    assert count_test_evaluations(tmp_path, "two", make_predictions(seed=1), revision="HEAD") == 2
    assert not (tmp_path / "compared").exists()
    assert count_test_evaluations(tmp_path, "two", make_predictions(seed=2), revision="HEAD~1") == 3
    assert count_test_evaluations(tmp_path, "two", make_predictions(seed=1), revision="HEAD") == 3
    assert len(recorded_evaluations(tmp_path)) == 3
    assert pd.read_csv(tmp_path / "two.csv")["experiment"].tolist() == ["two"]
    assert pd.read_csv(tmp_path / "compared/two.csv")["experiment"].tolist() == ["two of HEAD~1"]


def test_validation_alone_is_no_look_and_leaves_the_file_that_the_graph_expects(
    make_predictions, tmp_path: Path
) -> None:
    table = make_predictions()
    assert count_test_evaluations(tmp_path, "one", table[table["split"] == "val"]) is None
    assert len(pd.read_csv(tmp_path / "one.csv")) == 0 and not recorded_evaluations(tmp_path)
