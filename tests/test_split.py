"""The split stage through its command line."""

import json
import shutil

import pandas as pd
import pytest

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Split
from pipeline.splits.splitting import split_patients
from tests.conftest import COHORT, put_under_dvc


def duplicate_first_scan(project):
    """The first scan once more, as another patient's; its id."""
    labels = project / "cubes" / "labels.csv"
    table = pd.read_csv(labels, dtype=str)
    shutil.copy(project / "cubes" / table.loc[0, "path"], project / "cubes" / "scans" / "copy.nii.gz")
    copy = table.loc[0].to_dict() | {"scan_id": "copy", "patient_id": "p900", "path": "scans/copy.nii.gz"}
    pd.concat([table, pd.DataFrame([copy])]).to_csv(labels, index=False)
    return table.loc[0, "scan_id"]


def seed_that_parts(table, first, second):
    """A seed whose split puts two scans on different sides."""
    for seed in range(100):
        splits = split_patients(table, Split(test_fraction=0.34, num_folds=2, seed=seed)).set_index("scan_id")
        if splits.loc[first, "split"] != splits.loc[second, "split"]:
            return seed
    raise AssertionError("no seed parts them")


@pytest.mark.slow
def test_a_leak_leaves_the_earlier_split_until_it_is_accepted(project, command):
    for verb in ("fetch", "ingest", "split"):
        command(verb)
    folder = project / "data" / "cubes"
    earlier = (folder / "splits.csv").read_text()
    assert json.loads((folder / "leakage.json").read_text())["verdict"] == "clean"

    original = duplicate_first_scan(project)
    command("ingest")
    seed = f"cohort.split.seed={seed_that_parts(read_cohort(folder / 'cohort.csv'), original, 'copy')}"
    stopped = command("split", seed, check=False)
    assert stopped.returncode == 1
    assert "1 leaks across the split" in stopped.stderr and "same-file" in stopped.stderr
    assert (folder / "splits.csv").read_text() == earlier
    (finding,) = json.loads((folder / "leakage.json").read_text())["findings"]

    command("split", seed, f"cohort.split.accepted_leaks=[{finding['code']}]")
    assert json.loads((folder / "leakage.json").read_text())["verdict"] == "accepted"
    assert "copy" in (folder / "splits.csv").read_text()


@pytest.mark.slow
def test_the_graph_sees_that_a_given_file_was_edited_in_place(project, command):
    put_under_dvc(project)
    given, config = project / "cubes" / "mine.csv", project / "configs" / "cohorts" / "cubes.yaml"
    scans = pd.read_csv(project / "cubes" / "labels.csv", dtype=str)["scan_id"]
    numbers = scans.str[1:4].astype(int)
    wanted = pd.DataFrame(
        {"scan_id": scans, "split": numbers.map(lambda number: ("train", "val", "test")[number // 8])}
    )
    wanted.to_csv(given, index=False)
    config.write_text(COHORT.replace("test_fraction: 0.34, num_folds: 2", "file: $CUBES/mine.csv"))
    command.dvc("repro", "split@cubes")
    assert json.loads(command.dvc("status", "--json", "split@cubes")) == {}

    wanted.loc[numbers >= 22, "split"] = "val"
    wanted.to_csv(given, index=False)
    command.dvc("repro", "split@cubes")
    splits = pd.read_csv(project / "data" / "cubes" / "splits.csv", dtype=str).set_index("scan_id")
    assert set(splits.index[splits["split"] == "test"]) == set(scans[numbers.between(16, 21)])

    given.unlink()
    stopped = command.run(["dvc", "repro", "split@cubes"])
    assert stopped.returncode and str(given) in stopped.stderr and "split.file" in stopped.stderr, stopped.stderr
