"""One DICOM file as slices: where each frame is, what its values mean, and its pixels."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.filereader import read_dataset, read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pipeline.imaging.io.suv import suv_factor
from pipeline.imaging.problems import Findings, ScanProblem

PLACEMENT_TAGS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2, "Rows": 1, "Columns": 1}
"""Tags that define the position of a slice in space, with the number of values of each."""
IMAGE_TAGS = ("Rows", "Columns", "BitsAllocated")
"""Every image has them; a presentation state, a report or a set of contours has none."""
FUNCTIONAL_GROUPS = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
}
"""Where an enhanced object has these tags, for each frame or for all."""
IDENTICAL_TAGS = ("Modality", "Units", "Rows", "Columns", "BitsAllocated", "PixelRepresentation")
"""Tags that all slices of a volume share."""
MAX_BESIDE_PIXELS = 1 << 20
"""Bytes of a deflated file that are no pixels."""
MAX_PIXEL_BYTES = 1 << 30
"""Of one deflated file, whatever its header declares."""
DEFLATED = DeflatedExplicitVRLittleEndian.encode()
Dataset = pydicom.Dataset


@dataclass(frozen=True)
class Slice:
    """One frame of a file, its tags parsed; `placed` and `shared` have None for a tag that is missing."""

    path: Path
    frame: int | None
    """Its index in a file of several frames."""
    placed: dict[str, np.ndarray | None]
    """The `PLACEMENT_TAGS`, lengths in DICOM's LPS mm."""
    shared: dict[str, str]
    """The `IDENTICAL_TAGS`."""
    slope: float
    inter: float
    """Stored values to the unit of the modality: HU, or SUV of PET."""

    @property
    def name(self) -> str:
        return self.path.name if self.frame is None else f"{self.path.name}, frame {self.frame + 1}"

    @property
    def position(self) -> np.ndarray:
        """Center of the first voxel."""
        return self.placed["ImagePositionPatient"]

    @property
    def directions(self) -> np.ndarray:
        """(2, 3): unit vectors along increasing column and along increasing row."""
        return self.placed["ImageOrientationPatient"].reshape(2, 3)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.placed["Rows"][0]), int(self.placed["Columns"][0])


def read_file(path: Path, findings: Findings, *, with_pixels: bool = False) -> Dataset:
    """A file with or without preamble; one that is no DICOM at all is rejected."""
    with parsing(path, findings):
        with path.open("rb") as stream:
            is_deflated = DEFLATED in stream.read(2048)
        source = inflate(path, findings) if is_deflated else path
        # Without `force` a file must have a preamble, which older software leaves out.
        found = pydicom.dcmread(source, stop_before_pixels=not with_pixels, force=True)
        if "SOPClassUID" not in found and not all(tag in found for tag in IMAGE_TAGS):
            raise ValueError("no DICOM object: neither SOPClassUID nor an image")
        if "TransferSyntaxUID" not in found.file_meta:
            found.file_meta.TransferSyntaxUID = plain_syntax(found)
    return found


def plain_syntax(found: Dataset) -> pydicom.uid.UID:
    """The uncompressed syntax by which a file without meta information was read."""
    is_implicit, is_little = found.original_encoding
    if is_implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def inflate(path: Path, findings: Findings) -> BytesIO:
    """A deflated file as a plain one; more bytes than its own header declares are rejected before they are made."""
    meta = read_file_meta_info(path)
    # Preamble and magic, then the element of the group's length.
    stored = path.read_bytes()[132 + 12 + int(meta.FileMetaInformationGroupLength) :]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    content = inflater.decompress(stored, MAX_BESIDE_PIXELS)
    pixels = (0x7FE0, 0x0010)
    header = read_dataset(BytesIO(content), False, True, stop_when=lambda tag, vr, length: tag >= pixels)
    declared = [int(header.get(tag) or 1) for tag in (*IMAGE_TAGS, "SamplesPerPixel", "NumberOfFrames")]
    num_bytes = min(MAX_PIXEL_BYTES, np.prod(declared, dtype=float) / 8)
    content += inflater.decompress(inflater.unconsumed_tail, int(num_bytes) + 1)
    if inflater.unconsumed_tail or not inflater.eof:
        findings.reject("NII-BOMB", f"over {len(content)} bytes in {path.name}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = BytesIO()
    plain.write(bytes(128) + b"DICM")
    write_file_meta_info(plain, meta, enforce_standard=False)
    plain.write(content)
    plain.seek(0)
    return plain


@contextmanager
def parsing(path: Path, findings: Findings) -> Iterator[None]:
    """Turn any error that pydicom raises for a file into a rejection of that file; its warnings change no voxel."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, MemoryError, ScanProblem):
        raise
    # pydicom has no base class of errors: damaged bytes can raise any error of any of its parsers.
    except Exception as error:
        findings.reject("DCM-READ", f"{path.name}: {str(error).partition(chr(10))[0] or type(error).__name__}")


def is_image(found: Dataset) -> bool:
    return any(tag in found for tag in IMAGE_TAGS)


def slices_of(path: Path, found: Dataset, findings: Findings) -> list[Slice]:
    """The frames of an image, each with its own place and scaling; what would change the values is rejected by name."""
    with parsing(path, findings):
        check_values(path, found, findings)
        factor = suv_factor(path, found, findings)
        frames = int(found.get("NumberOfFrames") or 1)
        groups = list(found.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) != frames and (groups or frames > 1):
            findings.reject("DCM-FRAMES", f"{frames} frames with {len(groups)} functional groups in {path.name}")
        shared = list(found.get("SharedFunctionalGroupsSequence") or [])[:1]
        sources = [[group, *shared] for group in groups] or [shared]
        return [
            parse_slice(path, number if frames > 1 else None, found, own, factor, findings)
            for number, own in enumerate(sources)
        ]


def parse_slice(
    path: Path, frame: int | None, found: Dataset, groups: list[Dataset], factor: float, findings: Findings
) -> Slice:
    placed = {tag: numbers(tag, value_of(tag, found, groups), count) for tag, count in PLACEMENT_TAGS.items()}
    scaling = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    for tag, usual in scaling.items():
        value = value_of(tag, found, groups, missing=usual)
        if value is None or not np.isfinite(float(value)) or (tag == "RescaleSlope" and float(value) == 0):
            findings.reject("DCM-RESCALE", f"{tag} {'empty' if value is None else value} in {path.name}")
        scaling[tag] = float(value) * factor
    shared = {tag: str(found.get(tag)) for tag in IDENTICAL_TAGS}
    return Slice(path, frame, placed, shared, scaling["RescaleSlope"], scaling["RescaleIntercept"])


def value_of(tag: str, found: Dataset, groups: list[Dataset], missing: Any = None) -> Any:
    """A tag of the frame, else of all frames, else of the file; None where it is present but empty."""
    macros = [macro for group in groups for macro in group.get(FUNCTIONAL_GROUPS.get(tag, ""), None) or []]
    source = next((source for source in (*macros, found) if tag in source), None)
    if source is None:
        return missing
    value = source.get(tag)
    return None if value == "" else value


def numbers(tag: str, value: Any, count: int) -> np.ndarray | None:
    """ValueError unless the value has `count` finite numbers."""
    if value is None:
        return None
    values = np.atleast_1d(np.array(value, np.float64))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise ValueError(f"{tag} {value}, expected {count} finite numbers")
    return values


def check_values(path: Path, found: Dataset, findings: Findings) -> None:
    """Reject color, compression that nothing here decodes, and attributes that change what stored values mean."""
    samples, photometric = int(found.get("SamplesPerPixel") or 1), str(found.get("PhotometricInterpretation", ""))
    if samples != 1 or photometric == "PALETTE COLOR":
        findings.reject("DCM-COLOR", f"{samples} samples per pixel, {photometric}, in {path.name}")
    if photometric not in ("MONOCHROME2", ""):
        findings.reject("DCM-VALUES", f"PhotometricInterpretation {photometric} in {path.name}")
    if found.get("ModalityLUTSequence"):
        findings.reject("DCM-VALUES", f"ModalityLUTSequence in {path.name}")
    stored, high = found.get("BitsStored"), found.get("HighBit")
    if stored is not None and high is not None and int(high) != int(stored) - 1:
        findings.reject("DCM-VALUES", f"HighBit {high} of {stored} BitsStored in {path.name}")
    syntax = found.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and (decoders := missing_decoders(syntax)):
        findings.reject("DCM-SYNTAX", f"{syntax.name} in {path.name}, {decoders}")


def missing_decoders(syntax: pydicom.uid.UID) -> str:
    """What to install for a compression; empty if it can be decoded."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return "which no package decodes"
    return "" if decoder.is_available else f"decoded by {' or '.join(decoder.missing_dependencies)}"


def read_frames(one: Slice, findings: Findings) -> np.ndarray:
    """The stored values of a slice's whole file: (rows, columns), or (frames, rows, columns) of several frames."""
    found = read_file(one.path, findings, with_pixels=True)
    with parsing(one.path, findings):
        pixels = found.pixel_array
    expected = one.size if one.frame is None else (int(found.NumberOfFrames), *one.size)
    if pixels.shape != expected:
        findings.reject("DCM-READ", f"{one.path.name}: pixels of shape {pixels.shape}, expected {expected}")
    return pixels
