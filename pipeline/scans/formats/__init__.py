"""Scans as they lie on disk: NIfTI, DICOM series, several files as channels."""
