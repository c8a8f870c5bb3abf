"""DICOM series, a slice a file, with the least a reader needs."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_slices(
    folder: Path,
    voxels: np.ndarray,
    *,
    axes: np.ndarray,
    first_mm: tuple[float, float, float],
    step_mm: np.ndarray,
    pixel_mm: tuple[float, float],
    names: list[str],
    slope: float = 1,
    inter: float = 0,
) -> Path:
    """Write int16 voxels (slices, rows, columns); in DICOM's LPS, `axes` (2, 3) are the directions of columns and rows.

    `pixel_mm` is the distance between rows, then between columns.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series, study = generate_uid(), generate_uid()
    for index, (pixels, name) in enumerate(zip(voxels, names, strict=True)):
        slice_ = pydicom.Dataset()
        slice_.file_meta = pydicom.dataset.FileMetaDataset()
        slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_.file_meta.MediaStorageSOPClassUID = slice_.SOPClassUID = CTImageStorage
        slice_.file_meta.MediaStorageSOPInstanceUID = slice_.SOPInstanceUID = generate_uid()
        slice_.SeriesInstanceUID, slice_.StudyInstanceUID, slice_.Modality = series, study, "CT"
        slice_.InstanceNumber = index + 1
        slice_.ImageOrientationPatient = axes.round(8).ravel().tolist()
        slice_.ImagePositionPatient = (np.array(first_mm) + step_mm * index).round(6).tolist()
        slice_.PixelSpacing, slice_.SliceThickness = list(pixel_mm), 3
        slice_.Rows, slice_.Columns, slice_.SamplesPerPixel = *pixels.shape, 1
        slice_.PhotometricInterpretation, slice_.PixelRepresentation = "MONOCHROME2", 1
        slice_.BitsAllocated, slice_.BitsStored, slice_.HighBit = 16, 16, 15
        slice_.RescaleSlope, slice_.RescaleIntercept = slope, inter
        slice_.PixelData = pixels.astype("<i2").tobytes()
        slice_.save_as(folder / name, enforce_file_format=True)
    return folder


def write_nifti_twin(folder: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    """A series that holds voxels (X, Y, Z) where a NIfTI affine to RAS puts them."""
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return write_slices(
        folder,
        voxels.transpose(2, 1, 0),
        axes=(lps[:, :2] / spacing[:2]).T,
        first_mm=tuple(lps[:, 3]),
        step_mm=lps[:, 2],
        pixel_mm=(spacing[1], spacing[0]),
        names=[f"{index:03}.dcm" for index in range(voxels.shape[2])],
    )


def transcode(path: Path, syntax: str) -> None:
    """Compress by GDCM itself; pydicom writes neither JPEG lossless nor JPEG-LS."""
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
