"""The user's own folder is linked and never changed, and a fetch is complete or changes nothing."""

from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.sources.fetch import fetch_cohort
from pipeline.cohorts.sources.kinds import FolderSource
from pipeline.cohorts.sources.phantom.options import PhantomSource
from pipeline.config import Cohort
from pipeline.core.paths import CohortPaths
from pipeline.core.tables import read_table


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "scans").mkdir(parents=True)
    (folder / "scans" / "a.nii.gz").write_bytes(b"a scan")
    (folder / "labels.csv").write_text("scan_id,patient_id,path,label\n007,p1,a.nii.gz,ill\n")
    return folder


def cohort(source: FolderSource | PhantomSource) -> Cohort:
    return Cohort(name="mine", source=source, modality="MR", laterality="irrelevant")


def folder_source(own: Path, table: str = "labels.csv") -> FolderSource:
    return FolderSource(kind="folder", scans=str(own / "scans"), table=str(own / table))


PHANTOM = cohort(PhantomSource(kind="phantom", num_patients=1, coarsen=4))


def test_scans_and_table_are_links_and_stay_as_they_were(own: Path, tmp_path: Path) -> None:
    paths = CohortPaths(tmp_path / "mine")
    for _ in range(2):
        fetch_cohort(cohort(folder_source(own)), paths)
    assert paths.raw.readlink() == own / "scans" and paths.labels.readlink() == own / "labels.csv"
    assert sorted(path.name for path in paths.folder.iterdir()) == ["labels.csv", "raw"]
    assert (own / "scans" / "a.nii.gz").read_bytes() == b"a scan"


def test_paths_come_from_the_environment(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN", str(own))
    paths = CohortPaths(tmp_path / "mine")
    fetch_cohort(cohort(FolderSource(kind="folder", scans="$OWN/scans", table="${OWN}/labels.csv")), paths)
    assert paths.raw.resolve() == own / "scans"


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OWN", raising=False)
    with pytest.raises(ValueError, match=r"source.scans: \$\{OWN\}/scans needs the environment variable OWN"):
        fetch_cohort(cohort(FolderSource(kind="folder", scans="${OWN}/scans", table="x.csv")), CohortPaths(tmp_path))


@pytest.mark.parametrize(("missing", "message"), [("scans", "is not a folder"), ("labels.csv", "is not a file")])
def test_what_is_missing_is_named_and_earlier_files_stay(own: Path, tmp_path: Path, missing: str, message: str) -> None:
    paths = CohortPaths(tmp_path / "mine")
    fetch_cohort(cohort(folder_source(own)), paths)
    (own / missing).rename(own / "elsewhere")
    with pytest.raises(FileNotFoundError, match=message):
        fetch_cohort(cohort(folder_source(own)), paths)
    assert paths.raw.is_symlink() and paths.labels.is_symlink()


def test_a_phantom_gives_way_to_a_folder_and_back_without_touching_it(own: Path, tmp_path: Path) -> None:
    paths = CohortPaths(tmp_path / "mine")
    fetch_cohort(PHANTOM, paths)
    assert (paths.truth / "true_probability.csv").exists()
    fetch_cohort(cohort(folder_source(own)), paths)
    assert paths.raw.is_symlink() and not paths.truth.exists()
    fetch_cohort(PHANTOM, paths)
    assert len(pd.read_csv(paths.labels)) == len(list(paths.raw.iterdir())) > 0
    assert [path.name for path in (own / "scans").iterdir()] == ["a.nii.gz"]


def test_leftovers_of_a_killed_fetch_are_not_taken_for_scans(tmp_path: Path) -> None:
    paths = CohortPaths(tmp_path / "mine")
    (paths.folder / ".fetching" / "raw").mkdir(parents=True)
    (paths.folder / ".fetching" / "raw" / "half.nii.gz").write_bytes(b"half a scan")
    fetch_cohort(PHANTOM, paths)
    assert "half.nii.gz" not in {path.name for path in paths.raw.iterdir()}


@pytest.mark.parametrize("suffix", ["tsv", "xlsx", "parquet"])
def test_a_table_of_any_format_is_linked_as_it_is(own: Path, tmp_path: Path, suffix: str) -> None:
    table, file = pd.DataFrame({"scan_id": ["007", "NA"], "age": ["61,5", ""]}), own / f"labels.{suffix}"
    write = {"tsv": partial(table.to_csv, sep="\t"), "xlsx": table.to_excel, "parquet": table.to_parquet}[suffix]
    write(file, index=False)
    paths = CohortPaths(tmp_path / "mine")
    fetch_cohort(cohort(folder_source(own, file.name)), paths)
    assert paths.labels.resolve() == file.resolve()
    assert read_table(paths.labels).to_dict("list") == table.to_dict("list")


def test_a_file_that_is_no_table_is_refused_before_anything_is_linked(own: Path, tmp_path: Path) -> None:
    (own / "labels.xlsx").write_bytes(b"PK\x03\x04 cut off")
    paths = CohortPaths(tmp_path / "mine")
    with pytest.raises(ValueError, match="labels.xlsx: not an Excel table"):
        fetch_cohort(cohort(folder_source(own, "labels.xlsx")), paths)
    assert not paths.labels.is_symlink() and not paths.raw.is_symlink()
