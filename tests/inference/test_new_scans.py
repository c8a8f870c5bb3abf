from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import MetaTensor

from pipeline.config import Columns
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import PreparedScan
from pipeline.inference.new_scans import predict_files
from pipeline.inference.predictor import Prediction


class Classifier:
    """Says the same of every scan, and asks for an exabyte for the one whose file is named `large`."""

    columns, classes, threshold = Columns(), ["plain", "cube"], None

    def prepare(self, scan: ScanFiles) -> PreparedScan:
        if scan.first.name.startswith("large"):
            torch.empty(2**60)
        meta = {"warnings": ["values are not on the scale"] if scan.first.name.startswith("z") else []}
        return PreparedScan(MetaTensor(torch.zeros(1, 2, 2, 2), meta=meta))

    def predict(self, volume: np.ndarray) -> Prediction:
        return Prediction(np.array([0.25, 0.75]), ())


def test_a_scan_that_is_too_large_or_doubtful_is_named_and_does_not_affect_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "large", "z"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / f"{name}.nii.gz")
    with pytest.raises(ValueError, match="1 of 3 scans could not be predicted:\n.*large.nii.gz: out of memory"):
        predict_files(Classifier(), [tmp_path], tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)
    assert [Path(name).name for name in table["path"]] == ["a.nii.gz", "z.nii.gz"]
    assert table["warnings"].tolist() == ["", "values are not on the scale"]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"warning: {tmp_path}/z.nii.gz: values are not on the scale"
    ]
