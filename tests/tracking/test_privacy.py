"""What leaves names nobody, and holds pixels only when asked."""

import json
import re
import shutil
import socket
from pathlib import Path

import pandas as pd
import pytest

from pipeline.tracking.privacy import anonymize_page, are_replaceable, pseudonym, read_key
from tests.conftest import PLANTED_HOST, PLANTED_USER, Commands
from tests.tracking.offline import OfflineRun, sent_bytes

RUN = Path("runs/cubes/tiny")


def test_pseudonyms_are_stable_distinct_and_the_clone_s_own(tmp_path: Path) -> None:
    names = [f"p{number:03d}" for number in range(200)]
    key, other = (read_key(tmp_path / name) for name in ("key", "other"))
    assert len({pseudonym(name, key) for name in names}) == 200
    assert pseudonym("p001", key) == pseudonym("p001", read_key(tmp_path / "key")) != pseudonym("p001", other)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_none_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    with pytest.raises(ValueError, match="64 hexadecimal digits, got 6 .* copy the file from a clone"):
        read_key(tmp_path / "key")


@pytest.mark.parametrize("written", ["", "0a1b", "0a1b\n", "0" * 63])
def test_a_key_that_a_crash_cut_short_is_made_anew_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, written: str
) -> None:
    (tmp_path / "key").write_text(written)
    key = read_key(tmp_path / "key")
    assert f"contains {len(written.strip())} of 64 digits; writing a new key" in caplog.text
    assert len(key) == 32 and read_key(tmp_path / "key") == key and len(list(tmp_path.iterdir())) == 1


def test_a_public_page_has_a_pseudonym_for_each_id_wherever_it_stands_and_its_pictures_as_they_were() -> None:
    stand_ins = {"p1": "AAAA", "p1_0": "BBBB", "a&b": "CCCC"}
    page = "<p>p1_0 of p1, map p1_0_t1.nii; a&amp;b, not p10, sp1</p><img src='data:image/png;base64,xx/p1/yy=='>"
    assert anonymize_page(page, stand_ins) == (
        "<p>BBBB of AAAA, map BBBB_t1.nii; CCCC, not p10, sp1</p><img src='data:image/png;base64,xx/p1/yy=='>"
    )
    assert are_replaceable(stand_ins) and not are_replaceable(["12", "p1"])


@pytest.fixture(scope="module")
def pictured(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was trained where no tracker was, then tracked twice, first with pictures."""
    copy = Path(shutil.copytree(finished, tmp_path_factory.mktemp("pictured") / "project", symlinks=True))
    shutil.rmtree(copy / "wandb")
    (copy / "tracking/cubes.json").unlink()
    Commands(copy)("track", "tracking.log_images=true")
    Commands(copy)("track")
    return copy


@pytest.mark.slow
@pytest.mark.parametrize("tracked", ["finished", "pictured"])
def test_nothing_that_would_be_uploaded_names_a_patient_a_folder_a_user_or_the_machine(
    tracked: str, finished: Path, run: OfflineRun, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(tracked)
    logged = sent_bytes(folder)
    assert b"val_auroc" in logged and b"test/scan/" in logged and b"prob_cube" in logged
    ids = pd.read_csv(finished / "cubes/labels.csv")[["scan_id", "patient_id"]].to_numpy().ravel()
    # As a word of its own: among the random letters of artifacts and temporary files an id stands by chance.
    # Before it may stand the n of a line break that JSON has spelt out.
    word = rb"(?:(?<![0-9A-Za-z])|(?<=\\n))%b(?![0-9A-Za-z])"
    assert not [name for name in ids if re.search(word % name.encode(), logged)]
    for secret in (finished, folder, Path.home(), PLANTED_USER, PLANTED_HOST):
        assert str(secret).encode() not in logged, secret
    # The name of a machine may be two letters: it is looked for as a field, which starts with its length.
    host = socket.gethostname().encode()
    assert bytes([len(host)]) + host not in logged
    told = entries(OfflineRun(folder, run.run_id))
    assert len(told) > 6 and not any(entry.get("local_path", "").startswith("/") for entry in told)


def entries(run: OfflineRun) -> list[dict[str, str]]:
    return [entry for artifact in run.artifacts.values() for entry in artifact["manifest"]["contents"]]


@pytest.mark.slow
def test_pictures_and_the_report_leave_only_when_asked(finished: Path, pictured: Path, run: OfflineRun) -> None:
    assert not pictures_to_send(finished) and not list((finished / "wandb").rglob("*.html"))
    first = OfflineRun(pictured, run.run_id).parts[0]
    rows = len(pd.read_csv(finished / RUN / "predictions/fold-0-seed-0.csv"))
    assert len(pictures_to_send(pictured)) == rows + 2
    page = next((first / "files/media/html").glob("report*.html")).read_text()
    assert len(page) == pytest.approx(len((finished / "reports/cubes/tiny.html").read_text()), rel=0.01)
    captions = json.loads((finished / RUN / "explanations/captions.json").read_text())
    key = read_key(pictured / ".pseudonym_key")
    assert len(captions) == 2 and all(f"Scan {pseudonym(each['scan_id'], key)}" in page for each in captions)


def pictures_to_send(folder: Path) -> list[Path]:
    """PNG files below wandb/, whatever they are called while they wait for an upload."""
    files = (path for path in (folder / "wandb").rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes().startswith(b"\x89PNG")]


@pytest.mark.slow
def test_the_tracker_gets_later_what_it_missed_and_goes_on_with_growing_steps(pictured: Path, run: OfflineRun) -> None:
    steps, again = pd.read_csv(pictured / RUN / "fold-0-seed-0/steps.csv"), OfflineRun(pictured, run.run_id)
    assert again.history["_step"].tolist() == [*steps["step"], 10, 11]
    assert again.history["step/loss"].dropna().tolist() == pytest.approx(steps["loss"].tolist(), rel=1e-12)
    assert again.history["val_auroc"].dropna().tolist() == run.history["val_auroc"].dropna().tolist()
