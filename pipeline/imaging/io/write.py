"""Write small NIfTI files whose bytes depend on nothing but their content."""

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

SCANNER_COORDINATES = 1  # NIfTI's code for qform and sform: millimeters of the scanner, RAS+
GZIP = 31  # zlib's code for a gzip stream with its largest window; it writes no name and no time


def write_nifti(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.floating]) -> None:
    """Write voxels (i, j, k) as `.nii.gz` with the affine, in mm, as both qform and sform."""
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, SCANNER_COORDINATES)
    image.set_sform(affine, SCANNER_COORDINATES)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(compress(image.to_bytes()))


def compress(content: bytes) -> bytes:
    """Gzip that looks for runs only: noise has no longer repetitions, and searching for them takes most of the time."""
    compressor = zlib.compressobj(level=1, wbits=GZIP, strategy=zlib.Z_RLE)
    return compressor.compress(content) + compressor.flush()
