import nibabel
import pandas as pd
import pytest


@pytest.mark.slow
def test_preprocess_prepares_every_scan_once_and_any_viewer_opens_them(command, project):
    for verb in ("fetch", "ingest", "split", "plan"):
        command(verb)
    first = command("preprocess", "--workers", "2")
    scans = pd.read_csv(project / "data" / "cubes" / "cohort.csv")["scan_id"]
    assert f"0 of {len(scans)} scans are up to date" in first.stderr
    stored = sorted((project / "data" / "cubes" / "preprocessed").glob("*.nii"))
    assert [path.stem for path in stored] == sorted(scans)
    assert nibabel.load(stored[0]).shape == (16, 16, 16)
    assert f"{len(scans)} of {len(scans)} scans are up to date, 0 to do" in command("preprocess").stderr


def test_preprocess_without_a_plan_says_what_writes_it(command):
    for verb in ("fetch", "ingest"):
        command(verb)
    failed = command("preprocess", check=False)
    assert failed.returncode == 1 and "plan.yaml" in failed.stderr and "Traceback" not in failed.stderr
