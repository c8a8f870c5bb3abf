"""The command line that all stages share, tried on small functions and on the stages themselves."""

import logging
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest

from pipeline.config import Config
from pipeline.core import cli
from tests.conftest import Commands

TORCH_FREE = ("fetch", "ingest", "split", "evaluate", "report", "runs", "results")
"""Stages that never load a network library."""
NETWORK_LIBRARIES = {"torch", "monai", "lightning", "timm"}


@pytest.fixture(autouse=True)
def no_log_handlers_left() -> Iterator[None]:
    """Take away the handlers that a command line adds to the loggers of this process."""
    loggers = [logging.getLogger(name) for name in ("", "pipeline", "__main__")]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    yield
    for logger, handlers, level in before:
        logger.handlers[:] = handlers
        logger.setLevel(level)


def greet(
    names: Annotated[list[str], "who is greeted"],
    *,
    times: Annotated[int, "how often"] = 1,
    loudly: bool = False,
    sizes: tuple[int, int] | None = None,
) -> int:
    """Greet people."""
    sys.stdout.write(f"{names} {times} {loudly} {sizes}\n")
    return len(names)


def probe(config: Config, kind: Literal["overfit_batch", "lr_finder"]) -> None:
    """Probe a config."""
    sys.stdout.write(f"{kind} {config.training.max_epochs}\n")


def fail() -> None:
    raise ValueError("cohort.csv: no rows")


def interrupt() -> None:
    raise KeyboardInterrupt


def execute(*words: str) -> int:
    return cli.execute(greet, {"probe": probe, "fail": fail, "interrupt": interrupt}, words)


def usage_error(capsys: pytest.CaptureFixture, *words: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        execute(*words)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_words_and_options_reach_the_parameters_of_the_function(capsys: pytest.CaptureFixture) -> None:
    assert execute("ann", "bob", "--times", "3", "--loudly", "--sizes", "4", "5") == 2
    assert capsys.readouterr().out == "['ann', 'bob'] 3 True [4, 5]\n"
    execute("ann")
    assert capsys.readouterr().out == "['ann'] 1 False None\n"


def test_a_subcommand_has_a_command_line_of_its_own(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(project)
    assert execute("probe", "--config", "tiny.yaml", "lr_finder", "training.max_epochs=7") == 0
    assert capsys.readouterr().out == "lr_finder 7\n"
    assert "unknown option '--times'" in usage_error(capsys, "probe", "lr_finder", "--times", "3")


def test_exit_codes_tell_a_clear_error_from_an_interrupt(capsys: pytest.CaptureFixture) -> None:
    assert execute("fail") == 1
    assert execute("interrupt") == 130


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["NAMES", "is missing: who is greeted"]),
        (["ann", "--tims", "3"], ["unknown option '--tims'. Did you mean '--times'?"]),
        (["ann", "--times", "often"], ["--times", "invalid int value: 'often'"]),
        (["probe", "lr_findr"], ["unknown kind 'lr_findr'. Did you mean 'lr_finder'?"]),
        (["probe"], ["KIND is missing"]),
        (["probe", "lr_finder", "again"], ["'again' is unexpected; expected section.key=value"]),
        (["fail", "now"], ["'now' is unexpected; expected no further word"]),
    ],
)
def test_a_wrong_command_line_is_explained(words: list[str], parts: list[str], capsys: pytest.CaptureFixture) -> None:
    error = usage_error(capsys, *words)
    assert "usage: python -m pipeline.greet" in error
    for part in parts:
        assert part in error


def test_help_lists_words_options_and_subcommands(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        execute("--help")
    text = capsys.readouterr().out
    assert "usage: python -m pipeline.greet NAMES …" in text
    for part in ("who is greeted", "--times", "how often", "Probe a config."):
        assert part in text


def test_help_lists_every_key_with_type_default_and_meaning(command: Commands) -> None:
    text = command("plan", "--help").stdout
    assert "training.learning_rate: float = 0.0005" in text
    assert "Peak, reached after the warm-up" in text
    assert "cohort.source(phantom).num_patients: int = 120" in text
    assert "training.batch_size: auto | int = 'auto'" in text


def imported_by(command: Commands, verb: str, *words: str, check: bool = False) -> set[str]:
    """Names of all modules that the command imports in a new process, by Python's own record of them."""
    command.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    done = command.run([sys.executable, "-m", f"pipeline.{verb}", *words])
    assert not (check and done.returncode), done.stderr
    lines = done.stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_help_and_config_errors_import_no_heavy_library(command: Commands) -> None:
    for verb in ("train", "predict", "preprocess", "evaluate", "explain", "report", "track"):
        for words in (["--help"], ["training.lerning_rate=1"]):
            imported = imported_by(command, verb, *words)
            assert "pipeline.core.cli" in imported
            assert not imported & {"torch", "monai", "lightning", "pandas", "wandb"}


@pytest.mark.slow
@pytest.mark.parametrize("verb", TORCH_FREE)
def test_a_stage_without_a_network_never_imports_a_network_library(verb: str, finished: Path, tmp_path: Path) -> None:
    copy = Commands(Path(shutil.copytree(finished, tmp_path / "project", symlinks=True)))
    imported = imported_by(copy, verb, check=True)
    assert f"pipeline.{verb}" in imported or "pipeline.core.cli" in imported
    assert not imported & NETWORK_LIBRARIES


@pytest.mark.slow
def test_a_preview_of_tracking_does_not_import_lightning(finished: Path) -> None:
    imported = imported_by(Commands(finished), "track", "preview", check=True)
    assert "pipeline.tracking.collect" in imported and "lightning" not in imported


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--config", "tiney.yaml"], ["tiney.yaml", "Did you mean 'tiny.yaml'"]),
        (["training.lerning_rate=1"], ["training.lerning_rate", "Did you mean 'learning_rate'"]),
        (["--cofnig", "tiny.yaml"], ["--cofnig", "Did you mean '--config'"]),
        (["chekc", "overfit_batch"], ["'chekc' is unexpected", "Did you mean 'check'"]),
        (["--check", "overfit_batch"], ["unknown option '--check'", "Did you mean 'check'"]),
    ],
)
def test_a_typo_is_one_clear_line_and_a_failure(command: Commands, words: list[str], parts: list[str]) -> None:
    done = command("train", *words, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in done.stderr


def test_options_of_a_subcommand_are_unknown_to_the_stage_itself(command: Commands) -> None:
    done = command("predict", "--out", "x.csv", check=False)
    assert done.returncode == 2 and "unknown option '--out'" in done.stderr


def test_a_subcommand_names_a_required_option_that_is_missing(command: Commands) -> None:
    done = command("predict", "scans", "new.nii.gz", check=False)
    assert done.returncode == 2 and "required: --run" in done.stderr


def test_a_missing_input_names_the_file_and_what_writes_it(command: Commands) -> None:
    done = command("plan", check=False)
    assert done.returncode == 1
    assert "cohort.csv" in done.stderr and "dvc repro" in done.stderr


@pytest.mark.parametrize("out", ["/dev/null", "params.yaml", "params.yaml/below"])
def test_results_for_a_folder_that_is_a_file_or_a_device_are_refused(out: str, command: Commands) -> None:
    before = Path("/dev/null").is_char_device(), (command.folder / "params.yaml").read_bytes()
    rows = [f"s{number},p{number},{'ab'[number % 2]},0.{number + 1},0.{9 - number}" for number in range(9)]
    (command.folder / "scores.csv").write_text("\n".join(["scan_id,patient_id,label,prob_a,prob_b", *rows]))
    done = command("evaluate", "table", "scores.csv", "--out", out, check=False)
    assert done.returncode == 1 and f"error: {out}: expected a folder, got a file or a device" in done.stderr
    assert (Path("/dev/null").is_char_device(), (command.folder / "params.yaml").read_bytes()) == before


def test_messages_of_a_stage_are_also_in_its_log_file(command: Commands) -> None:
    command("fetch")
    done = command("ingest")
    (message,) = [line for line in done.stderr.splitlines() if "24 patients" in line]
    assert (command.folder / "logs" / "ingest.log").read_text().endswith(f"{message}\n")
