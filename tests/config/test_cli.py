"""The command line that all stages share, tried on the stages themselves."""

from pathlib import Path

import pytest

from tests.conftest import Commands


def test_help_lists_every_key_with_type_default_and_meaning(command: Commands) -> None:
    text = command("plan", "--help").stdout
    assert "training.learning_rate: float = 0.0005" in text
    assert "Peak, reached after the warm-up" in text
    assert "cohort.source(phantom).num_patients: int = 120" in text
    assert "training.batch_size: auto | int = 'auto'" in text


def loaded_by(command: Commands, verb: str, *words: str) -> set[str]:
    """Names of all modules that the command imports, by Python's own record of them."""
    command.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    lines = command(verb, *words, check=False).stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_help_and_config_errors_load_no_heavy_library(command: Commands) -> None:
    for verb in ("train", "predict", "preprocess", "evaluate", "explain", "report", "track"):
        for words in (["--help"], ["training.lerning_rate=1"]):
            loaded = loaded_by(command, verb, *words)
            assert "pipeline.config.cli" in loaded
            assert not loaded & {"torch", "monai", "lightning", "pandas", "wandb"}


@pytest.mark.slow
def test_what_would_be_tracked_is_told_without_waiting_for_lightning(finished: Path) -> None:
    loaded = loaded_by(Commands(finished), "track", "--dry-run")
    assert "pipeline.tracking.collect" in loaded and "lightning" not in loaded


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--config", "tiney.yaml"], ["tiney.yaml", "Did you mean 'tiny.yaml'"]),
        (["training.lerning_rate=1"], ["training.lerning_rate", "Did you mean 'learning_rate'"]),
        (["--cofnig", "tiny.yaml"], ["--cofnig", "Did you mean '--config'"]),
    ],
)
def test_a_typo_is_one_clear_line_and_a_failure(command: Commands, words: list[str], says: list[str]) -> None:
    done = command("train", *words, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for part in says:
        assert part in done.stderr


def test_options_of_another_form_are_refused(command: Commands) -> None:
    done = command("predict", "--out", "x.csv", check=False)
    assert done.returncode == 2 and "--out does not go with this form" in done.stderr


def test_a_form_says_which_of_its_options_is_missing(command: Commands) -> None:
    done = command("predict", "--run", "nowhere", check=False)
    assert done.returncode == 2 and "--scans is required" in done.stderr


def test_a_missing_input_names_the_file_and_what_writes_it(command: Commands) -> None:
    done = command("plan", check=False)
    assert done.returncode == 1
    assert "cohort.csv" in done.stderr and "dvc repro" in done.stderr
