"""Hold the maps of the default graph's networks against the lesions that the phantom planted.

    make repro && python benchmarks/explanations.py [gradcam hirescam occlusion]

For test scans of diseased patients, the surest predictions first and one scan a patient: how much denser the evidence
for disease is in the lesion than in the whole scan, and the AUROC of the evidence for being in the lesion, voxel by
voxel. Means over scans with the range of the middle half. Prints a table and, as its last line, one JSON object; a
minute on two cores, and ten more with occlusion.
"""

import json
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1]))

from pipeline.cohorts.label_table import read_cohort  # noqa: E402
from pipeline.core.columns import LABEL, PATIENT_ID, PROB_PREFIX, SCAN_ID, SPLIT, TEST  # noqa: E402
from pipeline.core.paths import Artifacts, CohortPaths, TrainingKey  # noqa: E402
from pipeline.explanation.run import attribute  # noqa: E402
from pipeline.imaging.io.discover import scan_files  # noqa: E402
from pipeline.imaging.io.read import read_scan  # noqa: E402
from pipeline.imaging.resampling import to_original_grid  # noqa: E402
from pipeline.inference.predictor import Predictor  # noqa: E402

COHORT, EXPERIMENTS = "phantom", ("3d_poolformer", "2d_resnet", "2d_frozen")
METHODS = ("gradcam", "hirescam")
NUM_SCANS = 12


def surest_positives(predictions: Path, positive: str, paths: CohortPaths) -> list[str]:
    """Test scans of diseased patients with a lesion, one a patient."""
    rows = pd.read_csv(predictions, dtype={SCAN_ID: str, PATIENT_ID: str})
    rows = rows[(rows[SPLIT] == TEST) & (rows[LABEL] == positive)]
    rows = rows.sort_values(f"{PROB_PREFIX}{positive}", ascending=False)
    rows = rows[[lesion_of(paths, scan_id).any() for scan_id in rows[SCAN_ID]]]
    return rows.drop_duplicates(PATIENT_ID)[SCAN_ID].head(NUM_SCANS).tolist()


def lesion_of(paths: CohortPaths, scan_id: str) -> np.ndarray:
    """Where the lesion was planted, on the scan's own grid."""
    path = paths.truth / "lesions" / f"{scan_id}.nii.gz"
    return np.asanyarray(nibabel.load(path).dataobj) > 0 if path.exists() else np.zeros(1, bool)


def agreement(trained: Predictor, paths: CohortPaths, row: pd.Series, method: str) -> tuple[float, float]:
    """Density of the evidence in the lesion over that in the scan, and its AUROC by voxel."""
    files, lesion = scan_files(row, paths.raw.absolute()), lesion_of(paths, row[SCAN_ID])
    prepared, scan = trained.prepare(files), read_scan(files.first)
    evidence = attribute(trained, prepared.array, len(trained.classes) - 1, method)
    on_scan = to_original_grid(evidence, prepared.affine, scan.array.shape, scan.affine)
    whole = on_scan.mean()
    return float(on_scan[lesion].mean() / whole) if whole else 0.0, roc_auc_score(lesion.ravel(), on_scan.ravel())


def main() -> None:
    warnings.simplefilter("ignore")
    artifacts, found = Artifacts(Path()), {}
    paths = artifacts.cohort(COHORT)
    cohort = read_cohort(paths.cohort).set_index(SCAN_ID, drop=False)
    first = TrainingKey(fold=0, seed=0)
    for experiment in EXPERIMENTS:
        run = artifacts.run(COHORT, experiment)
        trained = Predictor.load(run.training(first).best)
        scans = surest_positives(run.predictions(first), trained.classes[-1], paths)
        for method in sys.argv[1:] or METHODS:
            figures = np.array([agreement(trained, paths, cohort.loc[scan], method) for scan in scans])
            (density, auroc), (low, high) = figures.mean(0), np.percentile(figures[:, 0], [25, 75])
            print(f"{experiment:<15}{method:<10}{len(scans)} scans  density {density:5.1f}x ({low:.1f} to {high:.1f})  "
                  f"AUROC by voxel {auroc:.3f}")  # fmt: skip
            found[f"{experiment}, {method}"] = {
                "num_scans": len(scans),
                "density": round(density, 2),
                "auroc": round(auroc, 4),
            }
    print(json.dumps({"benchmark": "explanations", "figures": found}))


if __name__ == "__main__":
    main()
