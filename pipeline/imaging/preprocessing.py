"""Run the preprocessing transforms on one scan, and put a map of the network's space back on the scan."""

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray

from pipeline.config import Plan
from pipeline.core.errors import original_errors
from pipeline.imaging.geometry import Affine
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.io.monai_reader import MEASURES, WARNINGS
from pipeline.imaging.problems import ScanProblem
from pipeline.imaging.reference_range import ScanMeasures
from pipeline.imaging.transforms import IMAGE, Sample, image_affine, sample_of, scan_transforms

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class PreparedScan:
    """A scan as the network sees it."""

    image: MetaTensor
    """(C, D, H, W) float32, rounded to the steps of the store, with the history that leads back to the scan."""

    @property
    def array(self) -> Volume:
        """The voxels (C, D, H, W), C-contiguous."""
        return self.image.as_tensor().numpy()

    @property
    def affine(self) -> Affine:
        """Index of (D, H, W) to RAS millimeters."""
        return image_affine(self.image)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results should know."""
        return tuple(self.image.meta.get(WARNINGS, ()))

    @property
    def measures(self) -> ScanMeasures | None:
        """Geometry and values of the file as it is; None if another reader was used."""
        found = self.image.meta.get(MEASURES)
        return ScanMeasures(**found) if found else None


def preprocess_scan(files: ScanFiles | Path, plan: Plan, transforms: Compose | None = None) -> PreparedScan:
    """Read and prepare one scan, of one file or of several, by `scan_transforms(plan)` or by the given ones.

    Raises `ValueError` if the scan cannot be used.
    """
    files = files if isinstance(files, ScanFiles) else ScanFiles((files,))
    if len(files.channels) != plan.num_images:
        expected = ", ".join(plan.channels) or "one file"
        raise ValueError(f"{files.first}: {len(files.channels)} files a scan, expected {plan.num_images}: {expected}.")
    try:
        with original_errors():
            sample = (transforms or scan_transforms(plan))(sample_of(files))
    except ScanProblem:
        raise
    except ValueError as error:
        raise ValueError(f"{files.first}: {error}") from error
    return PreparedScan(sample[IMAGE])


def map_on_scan(values: NDArray[np.float32], prepared: PreparedScan, transforms: Compose) -> nib.Nifti1Image:
    """A map (D, H, W) of the network's space on the grid of the scan's file, by the inverse of its own transforms."""
    history = list(prepared.image.applied_operations)
    image = MetaTensor(torch.from_numpy(values[None]), meta=dict(prepared.image.meta), applied_operations=history)
    sample: Sample = {IMAGE: image}
    with original_errors():
        back = transforms.inverse(sample)[IMAGE]
    # The reader gives (Z, Y, X); the file's own order is the reverse.
    affine = image_affine(back)[:, [2, 1, 0, 3]]
    return nib.Nifti1Image(back[0].as_tensor().numpy().T.astype(np.float32), affine)
