"""Each kind of planted leak is found; a clean cohort stays clean."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from pipeline.config import Cohort, Columns, Split
from pipeline.splits.leakage import check_accepted, check_leaks, find_leaks, read_accepted, write_leakage
from pipeline.splits.splitting import split_patients
from tests.splits.phantoms import AFFINE, head, row_of, write_cohort, write_scan

NUM_PATIENTS = 40


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """(folder, table) of a clean cohort with one scan per patient."""
    folder = tmp_path_factory.mktemp("heads")
    return folder, write_cohort(folder, NUM_PATIENTS)


def make_cohort(columns=None, **split):
    return Cohort(
        name="heads",
        source={"kind": "folder", "scans": ".", "table": "labels.csv"},
        columns=columns or Columns(),
        positive_class="lesion",
        modality="MR",
        laterality="relevant",
        split=Split(**split),
    )


def audit(folder, table, cohort=None):
    cohort = cohort or make_cohort()
    return find_leaks(table, split_patients(table, cohort.split, cohort.columns), cohort, folder)


def with_scan(heads, volume, affine=AFFINE, patient="P900"):
    """The clean cohort and one more scan, of a new patient."""
    folder, table = heads
    write_scan(folder / "copy.nii", volume, affine)
    return pd.concat([table, pd.DataFrame([row_of(folder, "copy", patient, "lesion")])], ignore_index=True)


def resampled(volume, rng):
    return ndimage.zoom(volume, (0.8, 0.7, 0.9), order=1), AFFINE @ np.diag([1 / 0.8, 1 / 0.7, 1 / 0.9, 1])


def another_dtype_and_affine(volume, rng):
    return np.rint(volume * 10).astype(np.int16), np.diag([1.0, 1.0, 1.0, 1.0])


def rescaled_with_noise(volume, rng):
    return (1.7 * volume + 30 + rng.normal(0, 30, volume.shape)).astype(np.float32), AFFINE


def mirrored(volume, rng):
    return np.ascontiguousarray(volume[::-1]), AFFINE


def axes_swapped(volume, rng):
    return np.ascontiguousarray(volume.transpose(1, 2, 0)), AFFINE


def cropped(volume, rng):
    return volume[3:, 2:-3, 1:-2].copy(), AFFINE


def all_at_once(volume, rng):
    return rescaled_with_noise(resampled(mirrored(cropped(volume, rng)[0], rng)[0], rng)[0], rng)[0], AFFINE


def unit(volume):
    return (volume - volume.min()) / np.ptp(volume)


def inverted(volume, rng):
    return 1 - unit(volume), AFFINE


def strong_gamma(volume, rng):
    return unit(volume) ** 0.4, AFFINE


ALTERATIONS = [
    *(resampled, another_dtype_and_affine, rescaled_with_noise, mirrored, axes_swapped, cropped, all_at_once),
    *(inverted, strong_gamma),
]


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
def test_an_altered_copy_under_another_patient_is_found_with_its_score(heads, alter):
    rng = np.random.default_rng(0)
    table = with_scan(heads, *alter(head(7), rng))
    found = audit(heads[0], table)["findings"]
    assert [(entry["kind"], entry["scans"]) for entry in found] == [("near-duplicate", ("S007", "copy"))]
    assert found[0]["scores"]["fitted"] > 0.85


def test_a_copy_of_the_second_channel_alone_is_found(heads, tmp_path):
    folder, table = heads
    for number in range(len(table)):
        copied = 3 if number == 9 else number
        write_scan(tmp_path / f"S{number:03d}.nii", head(number))
        write_scan(tmp_path / f"T{number:03d}.nii", head(500 + copied) + (5 if number == 9 else 0))
    paths = [path.replace("S", "T", 1) for path in table["path"]]
    paths[5] = ""
    table = table.assign(path=[f"{first}|{second}" for first, second in zip(table["path"], paths, strict=True)])
    found = audit(tmp_path, table)["findings"]
    assert [(entry["kind"], entry["scans"]) for entry in found] == [("near-duplicate", ("S003", "S009"))]


def test_a_copied_file_is_found_once(heads):
    table = with_scan(heads, head(7))
    found = audit(heads[0], table)["findings"]
    assert [(entry["kind"], entry["scans"], entry["patients"]) for entry in found] == [
        ("same-file", ("S007", "copy"), ("P007", "P900"))
    ]


def test_the_same_voxels_in_another_file_are_found_once(heads):
    table = with_scan(heads, head(7), affine=np.diag([4.0, 4.0, 4.0, 1.0]) + np.eye(4, k=3) * 5)
    assert [entry["kind"] for entry in audit(heads[0], table)["findings"]] == ["same-voxels"]


def test_two_scans_of_one_patient_may_look_alike(heads):
    table = with_scan(heads, *rescaled_with_noise(head(7), np.random.default_rng(0)), patient="P007")
    assert audit(heads[0], table)["verdict"] == "clean"


def test_a_patient_under_two_spellings_is_found(heads):
    folder, table = heads
    found = audit(folder, table.assign(patient_id=table["patient_id"].replace("P008", "p-7")))["findings"]
    assert [(entry["kind"], entry["scans"]) for entry in found] == [("patient-spelling", ("S007", "S008"))]


def test_a_given_split_that_divides_a_patient_or_a_family_is_found(heads):
    folder, table = heads
    table = table.assign(official=["test" if number % 4 == 0 else "train" for number in range(len(table))])
    table["patient_id"] = table["patient_id"].replace("P001", "P000")
    table["family"] = ["F1" if number in (10, 12) else "" for number in range(len(table))]
    cohort = make_cohort(Columns(split="official", group=("family",)))
    found = {entry["kind"]: entry["scans"] for entry in audit(folder, table, cohort)["findings"]}
    assert found == {"shared-patient": ("S000", "S001"), "shared-group": ("S010", "S012")}


def test_patients_seen_in_pretraining_are_found(heads, tmp_path):
    (tmp_path / "seen.txt").write_text("p-12\nX99\n")
    cohort = make_cohort(pretraining_patients=str(tmp_path / "seen.txt"))
    found = audit(*heads, cohort)["findings"]
    assert [(entry["kind"], entry["patients"], entry["across_splits"]) for entry in found] == [
        ("pretraining", ("P012",), True)
    ]


def test_test_patients_used_for_harmonization_are_found(heads, tmp_path):
    """Statistics fitted outside training: the user names the patients that they were fitted on."""
    folder, table = heads
    (tmp_path / "combat.txt").write_text("P003\n")
    found = audit(folder, table, make_cohort(statistics_patients=str(tmp_path / "combat.txt")))["findings"]
    assert [(entry["kind"], entry["patients"], entry["across_splits"]) for entry in found] == [
        ("statistics", ("P003",), True)
    ]


def test_a_leak_across_the_split_stops_until_it_is_accepted_by_its_code(heads, tmp_path):
    folder, clean = heads
    table = with_scan(heads, head(7))
    # A given split, so that the copy is a leak whatever the balance would make of it.
    table["official"] = [
        "test" if scan == "copy" or number % 5 == 0 else "train" for number, scan in enumerate(table["scan_id"])
    ]
    leaks = audit(folder, table, make_cohort(Columns(split="official")))
    assert leaks["verdict"] == "leaks"
    code = leaks["findings"][0]["code"]
    with pytest.raises(ValueError, match=f"1 leaks across the split.*(?s:.*){code}"):
        check_leaks(leaks, tmp_path / "leakage.json")
    accepted = audit(folder, table, make_cohort(Columns(split="official"), accepted_leaks=(code,)))
    check_leaks(accepted, tmp_path / "leakage.json")
    write_leakage(tmp_path / "leakage.json", accepted)
    content = json.loads((tmp_path / "leakage.json").read_text())
    assert content["verdict"] == "accepted"
    assert content["findings"][0]["accepted"] is True


def test_leaks_are_accepted_by_their_kind_or_by_a_file_with_reasons(heads, tmp_path):
    folder, clean = heads
    table = with_scan(heads, *rescaled_with_noise(head(7), np.random.default_rng(0)))
    table["official"] = [
        "test" if scan == "copy" or number % 5 == 0 else "train" for number, scan in enumerate(table["scan_id"])
    ]
    by_kind = make_cohort(Columns(split="official"), accepted_leaks=("near-duplicate",))
    accepted = audit(folder, table, by_kind)
    check_accepted(accepted, read_accepted(by_kind.split))
    check_leaks(accepted, tmp_path / "leakage.json")
    assert accepted["verdict"] == "accepted" and accepted["num_accepted"] == {"near-duplicate": 1}

    file = tmp_path / "accepted.csv"
    by_file = make_cohort(Columns(split="official"), accepted_leaks_file=str(file))
    file.write_text(f"code,reason\n{accepted['findings'][0]['code']},part of the benchmark\n")
    (finding,) = audit(folder, table, by_file)["findings"]
    assert finding["accepted"] and finding["reason"] == "part of the benchmark"
    file.write_text(f"code,reason\n{finding['code']},\n")
    with pytest.raises(ValueError, match=f"accepted.csv: 1 codes have no reason, such as {finding['code']}"):
        read_accepted(by_file.split)
    file.write_text(f"codes\n{finding['code']}\n")
    with pytest.raises(ValueError, match="accepted.csv: no column code and reason, got codes"):
        read_accepted(by_file.split)


def test_accepting_a_leak_that_does_not_exist_is_an_error(heads):
    folder, table = heads
    found = audit(folder, with_scan(heads, head(7)), make_cohort(accepted_leaks=("same-file-00000000",)))
    (finding,) = found["findings"]
    with pytest.raises(ValueError, match="no finding 'same-file-00000000'") as rejected:
        check_accepted(found, {"same-file-00000000": ""})
    assert f"{finding['code']}: {finding['message']}" in str(rejected.value)
    check_accepted(found, {finding["code"]: ""})


@pytest.mark.slow
def test_a_clean_cohort_of_200_has_no_finding(tmp_path):
    found = audit(tmp_path, write_cohort(tmp_path, 200))
    assert found == {"verdict": "clean", "num_scans": 200, "num_accepted": {}, "findings": []}


@pytest.mark.skipif("VOLUME_DATA" not in os.environ, reason="VOLUME_DATA names the folder of real volumes")
def test_real_scans_differ_and_a_cropped_mirrored_copy_is_found(tmp_path):
    import nibabel

    images = Path(os.environ["VOLUME_DATA"]) / "hippocampus" / "images"
    rows = []
    for number, source in enumerate(sorted(images.glob("*.nii.gz"))[:80]):
        volume = np.asarray(nibabel.load(source).dataobj, np.float32)
        write_scan(tmp_path / f"S{number:03d}.nii", volume, np.eye(4))
        rows.append(row_of(tmp_path, f"S{number:03d}", f"P{number:03d}", ("healthy", "lesion")[number % 2]))
        if number == 5:
            write_scan(tmp_path / "copy.nii", volume[-2:0:-1, 1:-1, 1:-1].copy(), np.eye(4))
    rows.append(row_of(tmp_path, "copy", "P900", "lesion"))
    assert [entry["scans"] for entry in audit(tmp_path, pd.DataFrame(rows))["findings"]] == [("S005", "copy")]
