"""N4: taking the uneven sensitivity of MR coils out of a scan (Tustison et al., doi:10.1109/TMI.2010.2046908)."""

import numpy as np
from numpy.typing import NDArray

SHRINK = 4
"""The field is smooth, so it is fitted on every fourth voxel an axis."""
FEWEST_VOXELS = 8
"""An axis is not shrunk below this."""


def require_n4() -> None:
    """Raise `ValueError` where SimpleITK, which the rest does without, is not installed."""
    try:
        import SimpleITK  # noqa: F401
    except ImportError:
        raise ValueError(
            "preprocess.bias_correction: n4 needs SimpleITK, which is not installed; "
            "run 'pip install simpleitk', or set it to none."
        ) from None


def correct_bias(array: NDArray) -> NDArray[np.float32]:
    """The scan (X, Y, Z) divided by its smooth field of gain; takes some seconds, on one thread for the same bits."""
    import SimpleITK as sitk

    # N4 works on logarithms, and values under 0 are no signal.
    image = sitk.GetImageFromArray(np.clip(array, 0, None).astype(np.float32).T)
    small = sitk.Shrink(image, [max(1, min(SHRINK, size // FEWEST_VOXELS)) for size in array.shape])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(1)
    n4.Execute(small, sitk.OtsuThreshold(small, 0, 1))
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    return array / np.exp(log_field, dtype=np.float32)
