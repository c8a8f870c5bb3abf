"""Files to arrays: NIfTI, DICOM, and a reader for MONAI."""
