from pipeline.evaluation.locked_test_set import count_recorded_evaluations, count_test_evaluations


def test_each_new_set_of_test_predictions_is_a_look_and_the_same_again_is_none(make_predictions, tmp_path):
    path, table = tmp_path / "test_looks.csv", make_predictions()
    assert count_test_evaluations(path, "one", table) == 1
    assert count_test_evaluations(path, "one", table.sample(frac=1, random_state=0)) == 1
    assert count_test_evaluations(path, "two", make_predictions(seed=1)) == 2
    assert count_recorded_evaluations(path) == 2


def test_validation_alone_is_no_look(make_predictions, tmp_path):
    table, path = make_predictions(), tmp_path / "test_looks.csv"
    assert count_test_evaluations(path, "one", table[table["split"] == "val"]) is None
    assert not path.exists()
