"""`pipeline.init` turns a folder and a table into a config that works, and never guesses what it must not."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts.ingest import ingest_cohort
from pipeline.cohorts.init_config import Answers, draft_cohort, write_draft
from pipeline.cohorts.sources.fetch import fetch_cohort
from pipeline.config.load import load_cohort
from pipeline.core.io import read_yaml
from pipeline.core.paths import CohortPaths
from pipeline.imaging.io.write import write_nifti
from tests.conftest import REPOSITORY, Commands
from tests.test_dvc_graph import followed_sections

ANSWERS = Answers(positive_class="ill", modality="MR", laterality="irrelevant")
OPTIONS = ["--positive-class", "ill", "--modality", "MR", "--laterality", "irrelevant"]


def rows() -> pd.DataFrame:
    numbers = range(8)
    return pd.DataFrame(
        {
            "Image ID": [f"00{number}" for number in numbers],
            "Subject": [f"p{number // 2}" for number in numbers],
            "where": [f"deep/00{number}.nii.gz" for number in numbers],
            "Diagnosis": ["ill" if number // 2 % 2 else "well" for number in numbers],
            "Age": [f"{50 + number},5" for number in numbers],
            "Centre": ["a", "b"] * 4,
        }
    )


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Eight scans, none like another, in a folder below the one that is given."""
    folder = tmp_path / "my scans"
    for number in range(8):
        voxels = np.random.default_rng(number).integers(0, 200, (12, 12, 12)).astype(np.int16)
        write_nifti(folder / "deep" / f"00{number}.nii.gz", voxels, np.eye(4))
    return folder


def write_excel(table: pd.DataFrame, path: Path) -> None:
    table.to_excel(path, index=False)


def write_text(separator: str, encoding: str):
    return lambda table, path: table.to_csv(path, sep=separator, encoding=encoding, index=False)


KINDS = {
    "labels.csv": write_text(",", "utf-8"),
    "semicolon.csv": write_text(";", "utf-8-sig"),
    "labels.tsv": write_text("\t", "utf-8"),
    "labels.xlsx": write_excel,
}


@pytest.mark.parametrize("kind", KINDS)
def test_drafted_config_fetches_and_ingests(
    kind: str, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    KINDS[kind](rows(), tmp_path / kind)
    draft = draft_cohort(scans, tmp_path / kind, None, {}, ANSWERS, ask=None)
    write_draft(draft, Path("configs/cohorts"))
    cohort = load_cohort("my_scans")
    assert cohort == draft
    paths = CohortPaths(tmp_path / "data" / "my_scans")
    fetch_cohort(cohort, paths)
    ingest_cohort(cohort, paths)
    table = pd.read_csv(paths.cohort, dtype=str)
    assert list(table.scan_id) == [f"00{number}" for number in range(8)]
    assert list(table.label) == list(rows().Diagnosis)
    assert list(table.Age.astype(float)) == [50.5 + number for number in range(8)]


def test_columns_are_guessed_by_name_and_paths_by_where_they_lead(scans: Path, tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.csv", index=False)
    columns = draft_cohort(scans, tmp_path / "labels.csv", None, {}, ANSWERS, ask=None).columns
    assert (columns.scan_id, columns.patient_id, columns.path) == ("Image ID", "Subject", "where")
    assert (columns.label, columns.site, columns.clinical) == ("Diagnosis", "Centre", ("Age",))


def test_an_option_wins_over_the_guess(scans: Path, tmp_path: Path) -> None:
    rows().assign(truth=["ill", "well"] * 4).to_csv(tmp_path / "labels.csv", index=False)
    draft = draft_cohort(scans, tmp_path / "labels.csv", None, {"label": "truth"}, ANSWERS, ask=None)
    assert draft.columns.label == "truth"


def test_roles_without_a_column_are_listed_with_their_options(scans: Path, tmp_path: Path) -> None:
    rows()[["where", "Age"]].to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="no column found for scan_id, patient_id, label among where, Age.*--label"):
        draft_cohort(scans, tmp_path / "labels.csv", None, {}, ANSWERS, ask=None)


def test_a_column_that_is_not_there_suggests_the_nearest(scans: Path, tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="no column 'Diagnose'. Did you mean 'Diagnosis'"):
        draft_cohort(scans, tmp_path / "labels.csv", None, {"label": "Diagnose"}, ANSWERS, ask=None)


def test_measurements_are_no_classes(scans: Path, tmp_path: Path) -> None:
    table = pd.concat([rows()] * 10, ignore_index=True)
    table.assign(Diagnosis=table.index / 10).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(ValueError, match="has 80 different values, expected 2 to 50 classes"):
        draft_cohort(scans, tmp_path / "labels.csv", None, {}, ANSWERS, ask=None)


def test_what_must_not_be_guessed_is_asked_for(scans: Path, tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.csv", index=False)
    asked = {}

    def ask(question: str, choices: tuple[str, ...]) -> str:
        asked[question] = choices
        return choices[0]

    draft = draft_cohort(scans, tmp_path / "labels.csv", None, {}, Answers(laterality="irrelevant"), ask)
    assert asked == {"positive_class": ("ill", "well"), "modality": ("CT", "MR", "PET", "mask", "other")}
    assert (draft.positive_class, draft.modality, draft.laterality) == ("ill", "CT", "irrelevant")


def run_init(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = Commands(folder)
    command.environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    return command("init", *words, check=False)


def test_without_a_terminal_everything_missing_is_one_error(scans: Path, tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.csv", index=False)
    done = run_init(tmp_path, str(scans), "labels.csv", "--modality", "MR")
    assert done.returncode == 1
    line = "--positive-class, one of ill, well; --laterality, one of relevant, irrelevant"
    assert line in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "configs").exists()


def test_command_shows_the_guess_says_what_is_next_and_overwrites_nothing(scans: Path, tmp_path: Path) -> None:
    rows().to_csv(tmp_path / "labels.csv", index=False)
    done = run_init(tmp_path, str(scans), "labels.csv", "--name", "mine", *OPTIONS)
    assert done.returncode == 0, done.stderr
    written = tmp_path / "configs" / "cohorts" / "mine.yaml"
    assert written.read_text() in done.stdout
    assert "Next: dvc exp run -S cohort=mine -S 'folds=[0,1,2,3,4]'" in done.stdout
    assert followed_sections("cohort") <= set(read_yaml(written))
    again = run_init(tmp_path, str(scans), "labels.csv", "--name", "mine", *OPTIONS)
    assert again.returncode == 1 and "mine.yaml exists and was not changed" in again.stderr


@pytest.mark.parametrize(
    ("values", "modality"),
    [((0, 1), "mask"), ((0, 255), "mask"), ((-1024, 300), "CT"), ((0, 300), None), ((0, 2), None), ((-500, 300), None)],
)
def test_a_modality_is_guessed_where_the_voxels_leave_no_doubt(tmp_path, scans, values, modality):
    rows().to_csv(tmp_path / "labels.csv", index=False)
    for path in (scans / "deep").iterdir():
        voxels = np.random.default_rng(0).choice(values, (12, 12, 12)).astype(np.int16)
        write_nifti(path, voxels, np.eye(4))
    answers = Answers(positive_class="ill", laterality="irrelevant")
    if modality:
        assert draft_cohort(scans, tmp_path / "labels.csv", None, {}, answers, ask=None).modality == modality
        given = Answers(positive_class="ill", laterality="irrelevant", modality="other")
        assert draft_cohort(scans, tmp_path / "labels.csv", None, {}, given, ask=None).modality == "other"
        # One scan of another kind is a doubt.
        write_nifti(scans / "deep" / "000.nii.gz", np.arange(12**3, dtype=np.int16).reshape(12, 12, 12), np.eye(4))
    with pytest.raises(ValueError, match="cannot be guessed.*--modality"):
        draft_cohort(scans, tmp_path / "labels.csv", None, {}, answers, ask=None)
