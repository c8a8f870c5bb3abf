"""Configs: what is accepted, and how the rest is rejected."""

from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.core.io import write_yaml
from pipeline.core.paths import TrainingKey


@pytest.fixture(autouse=True)
def in_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)


def error_of(*words: str, config: str | None = None) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_config(config, list(words))
    return str(caught.value)


def test_params_choose_experiment_and_cohort() -> None:
    config = load_config(None, [])
    assert (config.name, config.cohort.name, config.folds) == ("tiny", "cubes", (0,))


def test_overrides_reach_experiment_and_cohort() -> None:
    config = load_config(
        "tiny.yaml", ["training.learning_rate=1e-4", "cohort.split.num_folds=3", "fold=1", "folds=[0, 1]"]
    )
    assert config.training.learning_rate == 1e-4
    assert (config.cohort.split.num_folds, config.fold) == (3, 1)


def test_fold_and_seed_name_one_training_and_folds_times_seeds_all_of_them() -> None:
    config = load_config("tiny", ["fold=1", "seed=5", "folds=[0, 1]", "seeds=[0, 5]"])
    assert config.training_key == TrainingKey(fold=1, seed=5)
    assert config.training_keys == tuple(TrainingKey(fold, seed) for fold in (0, 1) for seed in (0, 5))
    assert load_config("tiny", []).training_keys == (load_config("tiny", []).training_key,) == (TrainingKey(0, 0),)


@pytest.mark.parametrize(
    "word", ["fold=0-seed-1", "seed=-1", "folds=[]", "seeds=[]", "seeds=[a]", "folds=[0,0]", "seeds=[1,2,1]"]
)
def test_folds_and_seeds_are_numbers_at_least_one_and_each_once(word: str) -> None:
    assert word.split("=")[0] in error_of(word)


def test_a_bare_name_and_a_path_give_the_same_config() -> None:
    assert load_config("tiny", []) == load_config("configs/tiny.yaml", [])


def test_a_cohort_is_picked_by_name(project: Path) -> None:
    folder = project / "configs" / "cohorts"
    (folder / "other.yaml").write_text((folder / "cubes.yaml").read_text())
    assert load_config(None, ["cohort=other", "cohort.modality=CT"]).cohort.name == "other"


def test_what_a_run_wrote_down_is_a_config_like_any_other(project: Path) -> None:
    words = ["fold=1", "seed=2", "training.learning_rate=1e-4", "cohort.split.num_folds=3"]
    config = load_config("tiny", words)
    write_yaml(project / "runs" / "config.yaml", config.model_dump(mode="json"))
    assert load_config("runs/config.yaml", []).model_dump() == config.model_dump()
    again = load_config("runs/config.yaml", ["name=again", "cohort.modality=CT"])
    assert (again.name, again.cohort.modality, again.training) == ("again", "CT", config.training)
    assert load_config("runs/config.yaml", ["cohort=cubes"]).cohort == load_config("tiny", []).cohort
    assert "runs/config.yaml: unknown key 'cohort.modalty'" in error_of("cohort.modalty=CT", config="runs/config.yaml")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["training.lerning_rate=1"], ["configs/tiny.yaml", "training.lerning_rate", "learning_rate"]),
        (["cohort.modalty=MR"], ["configs/cohorts/cubes.yaml", "cohort.modalty", "'modality'"]),
        (["training.batch_size=many"], ["training.batch_size", "'many'", "integer"]),
        (["training.learning_rate=-1"], ["training.learning_rate", "-1", "greater than 0"]),
        (["cohort.preprocess.spacing_mm=[1, 2]"], ["cohort.preprocess.spacing_mm", "[1, 2]"]),
        (["cohort.preprocess.intensity.scheme=zscor"], ["cohort.preprocess.intensity", "'zscor'", "'zscore'"]),
        (["cohort.modality=X"], ["cohort.modality", "'MR'", "'X'"]),
        (["cohort=cubs"], ["cubs", "cubes.yaml"]),
        (["cohort.source.kind=folders"], ["cohort.source", "'folder'", "folders"]),
        (["training"], ["'training'", "section.key=value"]),
        (["fold.x=1"], ["fold"]),
        (
            ["cohort.preprocess.intensity={scheme: window, window_hu: [400, -160]}", "cohort.modality=CT"],
            ["window_hu", "low < high", "(400.0, -160.0)"],
        ),
    ],
)
def test_a_wrong_word_is_rejected_with_key_value_and_nearest(words: list[str], says: list[str]) -> None:
    message = error_of(*words)
    for part in says:
        assert part in message


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["augmentation.flip_left_right=true", "cohort.laterality=relevant"], ["flip_left_right", "laterality"]),
        (["augmentation.zoom=true"], ["zoom", "size_is_diagnostic"]),
        (["cohort.preprocess.intensity={scheme: window, window_hu: [0, 80]}"], ["window", "CT", "MR"]),
        (["cohort.preprocess.intensity={scheme: suv}"], ["SUV", "PET", "MR"]),
        (["cohort.classes=[a, b]"], ["positive_class", "'cube'", "a, b"]),
        (["cohort.task=ordinal"], ["ordinal", "classes", "grades"]),
        (["cohort.task=multilabel"], ["multilabel", "positive_class", "'cube'"]),
        (["training.unfreeze_every=2", "model.freeze=true"], ["unfreeze_every", "model.freeze"]),
        (["training.unfreeze_every=2", "training.devices=2"], ["unfreeze_every", "one process"]),
        (["training.strategy=fsdp", "training.ema_decay=0.9"], ["fsdp", "ema_decay"]),
        (["training.compile=true", "training.deep_supervision=[0, 0, 1, 1]"], ["compile", "deep_supervision"]),
        (["cohort.preprocess.bias_correction=n4", "cohort.modality=CT"], ["bias_correction", "MR", "CT"]),
        (["cohort.preprocess.crop=mask"], ["columns.crop_mask"]),
        (["cohort.preprocess.crop=point"], ["columns.crop_center_mm"]),
        (["cohort.columns.channels=[t1, flair]", "cohort.columns.path=file"], ["columns.channels", "'file'"]),
        (
            ["cohort.columns.label_source=[mask]", "cohort.columns.path=mask"],
            ["columns: path", "'mask'", "label_source"],
        ),
        (
            ["cohort.columns.label_source=[mask]", "cohort.columns.channels=[t1, mask]"],
            ["columns: channels", "'mask'", "label_source"],
        ),
        (
            ["cohort.columns.label_source=[mask]", "cohort.columns.crop_mask=mask", "cohort.preprocess.crop=mask"],
            ["columns: crop_mask", "'mask'", "label_source"],
        ),
        (["cohort.columns.crop_center_mm=[r, a, label]"], ["columns: crop_center_mm", "'label'", "columns.label"]),
    ],
)
def test_an_impossible_pair_is_rejected(words: list[str], says: list[str]) -> None:
    message = error_of(*words)
    for part in says:
        assert part in message


def test_an_experiment_whose_page_would_replace_another_of_the_report_is_rejected() -> None:
    assert "an experiment cannot be named 'index'" in error_of("experiments=[tiny, index]")
    assert "an experiment cannot be named 'cohort'" in error_of("name=cohort")


def test_a_missing_config_names_the_nearest() -> None:
    assert "tiny.yaml" in error_of(config="tiney.yaml")


def test_a_key_that_occurs_twice_is_rejected(project: Path) -> None:
    (project / "configs" / "tiny.yaml").write_text("seed: 0\nseed: 1\nmodel: {name: resnet18}\n")
    message = error_of()
    assert "configs/tiny.yaml" in message and "line 2" in message and "twice" in message


def test_every_problem_is_told_at_once() -> None:
    message = error_of("training.clip_norm=0", "evaluation.confidnce=0.9")
    assert "clip_norm" in message and "'confidence'" in message


def test_params_refuse_unknown_keys(project: Path) -> None:
    (project / "params.yaml").write_text("cohrt: cubes\n")
    assert "'cohort'" in error_of(config="tiny")
