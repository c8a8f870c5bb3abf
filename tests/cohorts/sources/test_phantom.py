"""The truth of the phantom is in its files, and nothing else reveals the label."""

import filecmp
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.cohorts.sources.phantom.anatomy import WHITE, grow, load_template
from pipeline.cohorts.sources.phantom.generate import write_phantom
from pipeline.cohorts.sources.phantom.options import PhantomSource
from pipeline.cohorts.sources.phantom.population import SCANNERS, Patient, draw_population, solve_disease
from pipeline.core.paths import CohortPaths

MANY = 5_000


def source(**options: float) -> PhantomSource:
    return PhantomSource(kind="phantom", **options)


def write(folder: Path, workers: int = 1, **options: float) -> CohortPaths:
    """A few patients on voxels three times as wide."""
    paths = CohortPaths(folder)
    write_phantom(source(**{"num_patients": 4, "coarsen": 3, **options}), paths, workers)
    return paths


def files_of(paths: CohortPaths) -> list[Path]:
    return sorted(path.relative_to(paths.folder) for path in paths.folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> CohortPaths:
    """Sixteen patients: enough that nearly every scanner has made a scan."""
    return write(tmp_path_factory.mktemp("phantom"), workers=2, num_patients=16)


@pytest.fixture(scope="module")
def flawed(tmp_path_factory: pytest.TempPathFactory) -> CohortPaths:
    folder = tmp_path_factory.mktemp("flawed")
    return write(folder, num_patients=8, leaked_patients=2, duplicated_scans=3, mislabeled=0.25)


@cache
def patients_of(**options: float) -> pd.DataFrame:
    """Many patients without any image."""
    return pd.DataFrame(draw_population(source(num_patients=MANY, **options)))


def test_same_seed_gives_the_same_bytes_with_any_number_of_processes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two", workers=2)
    names = files_of(one)
    assert names == files_of(two)
    assert filecmp.cmpfiles(one.folder, two.folder, names, shallow=False)[0] == names


def test_another_seed_gives_other_scans(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", num_patients=1), write(tmp_path / "other", num_patients=1, seed=1)
    scan = "sub-0001_scan-1.nii.gz"
    assert (one.raw / scan).read_bytes() != (other.raw / scan).read_bytes()


@pytest.mark.parametrize(("prevalence", "best_auroc"), [(0.35, 0.92), (0.1, 0.8)])
def test_prevalence_and_best_auroc_are_those_asked_for(prevalence: float, best_auroc: float) -> None:
    patients = patients_of(prevalence=prevalence, best_auroc=best_auroc)
    is_positive = patients.label == "disease"
    # Four standard errors of a share, and of an AUROC with this many positives.
    assert is_positive.mean() == pytest.approx(prevalence, abs=0.027)
    assert roc_auc_score(is_positive, patients.probability) == pytest.approx(best_auroc, abs=0.04)


def test_probability_is_calibrated_and_rises_with_the_dose_alone() -> None:
    patients = patients_of()
    intercept, slope = solve_disease(0.35, 0.92)
    assert np.allclose(patients.probability, 1 / (1 + np.exp(-intercept - slope * patients.dose)))
    for _, group in patients.groupby(pd.qcut(patients.probability, 5)):
        assert (group.label == "disease").mean() == pytest.approx(group.probability.mean(), abs=0.06)


def test_nothing_but_the_dose_goes_with_the_label() -> None:
    patients = patients_of()
    is_positive = patients.label == "disease"
    for column in ("age", "decoy_dose", "num_scans"):
        assert roc_auc_score(is_positive, patients[column]) == pytest.approx(0.5, abs=0.035)
    for column in ("sex", "site"):
        assert is_positive.groupby(patients[column]).mean().std() < 0.035


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_site_shortcut_is_as_strong_as_asked(strength: float) -> None:
    patients = patients_of(site_shortcut=strength)
    is_first_half = patients.site.isin(["north", "south"])
    shares = is_first_half.groupby(patients.label).mean()
    assert shares["disease"] - shares["healthy"] == pytest.approx(strength, abs=0.06)


def test_table_and_truth_have_a_row_for_each_existing_scan(cohort: CohortPaths) -> None:
    labels, truth = pd.read_csv(cohort.labels), pd.read_csv(cohort.truth / "true_probability.csv")
    assert list(labels.scan_id) == list(truth.scan_id)
    assert {path.name for path in cohort.raw.iterdir()} == set(labels.path)
    assert labels.groupby("patient_id").size().isin([1, 2, 3]).all()
    assert pd.read_csv(cohort.truth / "planted.csv").empty


def test_lesion_is_on_the_patients_left_in_any_orientation_of_the_scan(cohort: CohortPaths) -> None:
    labels = pd.read_csv(cohort.labels)
    seen = set()
    for row in labels.itertuples():
        mask = nib.load(cohort.truth / "lesions" / row.path)
        lesion = np.argwhere(mask.get_fdata() > 0)
        if len(lesion) < 3:
            continue
        scan = nib.load(cohort.raw / row.path)
        head = np.argwhere(scan.get_fdata() > 0.5 * np.percentile(scan.get_fdata(), 98))
        left_mm, middle_mm = (nib.affines.apply_affine(scan.affine, voxels)[:, 0] for voxels in (lesion, head))
        assert np.median(left_mm) < np.median(middle_mm) - 10
        seen.add(nib.aff2axcodes(scan.affine))
    assert len(seen) >= 4


def test_effect_is_confined_to_the_lesion_and_only_darkens(cohort: CohortPaths) -> None:
    truth = pd.read_csv(cohort.truth / "true_probability.csv").set_index("scan_id")
    scan_id = truth.dose.idxmax()
    effect, mask, scan = (
        np.asarray(nib.load(folder / f"{scan_id}.nii.gz").dataobj)
        for folder in (cohort.truth / "effects", cohort.truth / "lesions", cohort.raw)
    )
    twin = scan.astype(int) - effect
    assert (effect[mask > 0] < 0).all()
    assert np.abs(effect).sum() > 0 and (effect == 0).mean() > 0.9
    assert scan[mask > 0].mean() < 0.75 * twin[mask > 0].mean()


def test_scans_differ_as_their_scanners_do(cohort: CohortPaths) -> None:
    labels = pd.read_csv(cohort.labels)
    known = {scanner.name: scanner for scanner in SCANNERS}
    for row in labels.itertuples():
        image, scanner = nib.load(cohort.raw / row.path), known[row.scanner]
        assert image.get_data_dtype() == scanner.dtype
        assert np.allclose(image.header.get_zooms(), 3 * np.array(scanner.spacing_mm), atol=1e-4)
        assert "".join(nib.aff2axcodes(image.affine)) == scanner.axcodes
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        background_is_noisy = (np.asarray(image.dataobj) == 0).mean() < 0.5
        assert background_is_noisy == scanner.has_head
    assert labels.scanner.nunique() >= 6


def patient(**changes: float | str) -> Patient:
    plain = {"age": 45.0, "sex": "F", "dose": 0.0, "decoy_dose": 0.0}
    rest = {"probability": 0.0, "label": "healthy", "site": "north", "num_scans": 1}
    return Patient(index=0, patient_id="sub-0001", **{**plain, **rest, **changes})


def brain_of(**changes: float | str) -> np.ndarray:
    return grow(patient(**changes), load_template(), False, np.random.default_rng(0)).healthy


def share_of_fluid(brain: np.ndarray) -> float:
    return ((brain > 0.1 * WHITE) & (brain < 0.45 * WHITE)).sum() / (brain > 0.1 * WHITE).sum()


def test_age_widens_the_fluid_spaces_and_sex_the_head() -> None:
    young, middle, old = (share_of_fluid(brain_of(age=age)) for age in (45.0, 65.0, 85.0))
    assert young < middle < old
    assert old > 1.2 * young
    female, male = ((brain_of(sex=sex) > 0.1 * WHITE).sum() for sex in "FM")
    assert male / female == pytest.approx((1.03 / 0.97) ** 3, rel=0.03)


def test_decoy_mirrors_the_lesion_on_the_other_side() -> None:
    change = brain_of() - brain_of(decoy_dose=0.9)
    right_mm = -90 + 2 * np.argwhere(change > 20)[:, 0]
    assert len(right_mm) > 100 and right_mm.min() > 0


def test_leaked_patients_are_the_same_files_under_a_new_name(flawed: CohortPaths) -> None:
    labels = pd.read_csv(flawed.labels).set_index("scan_id")
    planted = pd.read_csv(flawed.truth / "planted.csv").query("kind == 'leaked_patient'")
    assert planted.patient_id.nunique() == 2
    for row in planted.itertuples():
        copy, original = labels.loc[row.scan_id], labels.loc[row.copy_of]
        assert (flawed.raw / copy.path).read_bytes() == (flawed.raw / original.path).read_bytes()
        assert copy.patient_id != original.patient_id and copy.label == original.label


def test_duplicated_scans_are_the_same_voxels_in_other_bytes_under_another_patient(flawed: CohortPaths) -> None:
    labels = pd.read_csv(flawed.labels).set_index("scan_id")
    planted = pd.read_csv(flawed.truth / "planted.csv").query("kind == 'duplicated_scan'")
    assert len(planted) == 3
    for row in planted.itertuples():
        copy, original = (flawed.raw / labels.loc[name].path for name in (row.scan_id, row.copy_of))
        assert copy.read_bytes() != original.read_bytes()
        assert (nib.load(copy).get_fdata() == nib.load(original).get_fdata()).all()
        assert labels.loc[row.scan_id].patient_id != labels.loc[row.copy_of].patient_id


def test_mislabeled_patients_have_the_other_label_and_keep_their_probability(flawed: CohortPaths) -> None:
    labels = pd.read_csv(flawed.labels).merge(pd.read_csv(flawed.truth / "true_probability.csv"))
    planted = set(pd.read_csv(flawed.truth / "planted.csv").query("kind == 'mislabeled'").patient_id)
    clean = draw_population(source(num_patients=8))
    assert len(planted & {patient.patient_id for patient in clean}) == 2
    for patient in clean:
        rows = labels[(labels.patient_id == patient.patient_id) & ~labels.scan_id.str.contains("copy")]
        assert (rows.label != patient.label).all() == (patient.patient_id in planted)
        assert np.allclose(rows.probability, patient.probability)
