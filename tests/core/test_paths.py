from pathlib import Path

import pytest

from pipeline.core.paths import DVC_PLOTS, Artifacts, CohortPaths, EvaluationPaths, RunPaths, TrainingKey


def files_of(paths: object) -> list[Path]:
    """The value of every property that is a path."""
    names = [name for name, value in vars(type(paths)).items() if isinstance(value, property)]
    return [value for name in names if isinstance(value := getattr(paths, name), Path)]


def test_a_training_is_named_by_fold_and_seed_in_every_path() -> None:
    run, key = RunPaths(Path("runs/c/e")), TrainingKey(fold=2, seed=1)
    assert run.training(key).best == Path("runs/c/e/fold-2-seed-1/best.ckpt")
    assert run.predictions(key) == Path("runs/c/e/predictions/fold-2-seed-1.csv")
    assert run.embeddings(key) == Path("runs/c/e/embeddings/fold-2-seed-1.npz")


def test_trainings_of_two_seeds_share_no_file() -> None:
    run, keys = RunPaths(Path("run")), [TrainingKey(0, 0), TrainingKey(0, 1), TrainingKey(1, 0), TrainingKey(10, 0)]
    files = [
        file
        for key in keys
        for file in (
            *files_of(run.training(key)),
            run.predictions(key),
            run.predicted_by(key),
            run.embeddings(key),
            run.guard(key),
        )
    ]
    assert len(files) == len(set(files)) > 4 * len(keys)


def test_trainings_sort_by_number_and_not_by_name() -> None:
    keys = [TrainingKey(10, 0), TrainingKey(2, 1), TrainingKey(2, 0)]
    assert sorted(keys) == [TrainingKey(2, 0), TrainingKey(2, 1), TrainingKey(10, 0)]


def test_the_trainings_of_a_run_are_its_folders_and_nothing_beside_them(tmp_path: Path) -> None:
    run = RunPaths(tmp_path)
    for name in ("fold-0-seed-0", "fold-1-seed-3", "predictions", "evaluation", "fold-0"):
        (tmp_path / name).mkdir()
    (tmp_path / "fold-2-seed-0").touch()
    found = [training.folder.name for training in run.find_trainings()]
    assert found == ["fold-0-seed-0", "fold-1-seed-3"]


def test_an_evaluation_writes_below_its_own_folder_and_no_file_twice() -> None:
    evaluation = EvaluationPaths(Path("out"))
    files = [*files_of(evaluation), *(evaluation.plot(name) for name in (*DVC_PLOTS, "scores"))]
    assert len(files) == len(set(files))
    assert all(Path("out") in file.parents for file in files)


def test_what_an_external_cohort_is_judged_by_is_in_one_folder() -> None:
    evaluation = RunPaths(Path("run")).evaluation
    frozen = {evaluation.operating_point, evaluation.calibration, evaluation.conformal, evaluation.checkpoints}
    assert {file.parent for file in frozen} == {Path("run/evaluation/frozen")}


def test_an_external_evaluation_leaves_the_own_one_alone() -> None:
    run = RunPaths(Path("run"))
    assert not set(files_of(run.external("elsewhere"))) & set(files_of(run.evaluation))


@pytest.mark.parametrize("name", ["one", "two"])
def test_a_cohort_keeps_its_files_in_its_own_folder(name: str) -> None:
    cohort = Artifacts(Path("root")).cohort(name)
    assert isinstance(cohort, CohortPaths)
    assert all(Path("root/data") / name in file.parents for file in files_of(cohort))


def test_wandb_can_keep_its_runs_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_DIR", raising=False)
    assert Artifacts(Path("root")).wandb == Path("root/wandb")
    monkeypatch.setenv("WANDB_DIR", "/elsewhere")
    assert Artifacts(Path("root")).wandb == Path("/elsewhere/wandb")
