"""One preprocessed scan as a file: uncompressed int16 NIfTI-1 that any viewer opens, with a record of how it was made.

On disk the last axis of (C, D, H, W) runs fastest, as NIfTI's first: the file's axes are (W, H, D), or (W, H, D, C) of
several channels, and its affine's columns stand in that order. Values are codes times a power of two, so decoding is
exact, encoding twice changes nothing, and masks and integers below 32,768 stay themselves; the step is below 1/16,000
of the largest value. The header's description is a checksum of the whole file.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from isal.isal_zlib import crc32
from nibabel.nifti1 import Nifti1Extension, Nifti1Header, header_dtype

from pipeline.core.io import parse_json, whole_file
from pipeline.imaging.geometry import Affine
from pipeline.imaging.voxel_codes import Codes, Volume, decode

HEADER = header_dtype.newbyteorder("<")
EXTENSION_START = 352
LARGEST_START = 1 << 20
"""Largest offset of the voxels: no record is that long."""
CHECKSUM = slice(148, 156)
"""Where the header's free text, `descrip`, holds the file's CRC-32 in hexadecimal, taken with zeros here."""
COMMENT = 6
"""NIfTI's extension code for plain text."""


@dataclass(frozen=True)
class ScanRecord:
    """What a stored scan was made from; hashes are SHA-256 in hexadecimal."""

    scan_id: str
    source_sha256: str
    """The raw file."""
    plan_sha256: str
    """The part of the plan that shapes voxels."""
    code_sha256: str
    """The modules that shape voxels."""
    voxels_sha256: str
    """The codes in the order of the file."""
    warnings: tuple[str, ...] = ()
    """What a reader of the results should know."""


@dataclass(frozen=True)
class StoredVolume:
    """A stored scan: codes (C, D, H, W), their scale, the affine of that grid, and the record."""

    codes: Codes
    slope: float
    affine: Affine
    record: ScanRecord

    def decode(self, out: Volume | None = None) -> Volume:
        """The voxel values, in a new array or in `out`."""
        return decode(self.codes, self.slope, out)


def sha256_of(codes: Codes) -> str:
    return hashlib.sha256(np.ascontiguousarray(codes)).hexdigest()


def write_entry(path: Path, codes: Codes, slope: float, affine: Affine, record: ScanRecord) -> None:
    """Write the file of codes (C, D, H, W), whole or not at all, but see `Store.sync`."""
    header = Nifti1Header(endianness="<")
    header.set_data_dtype(np.int16)
    # Some viewers treat a fourth axis as time, even if its length is 1.
    header.set_data_shape(codes.shape[::-1] if len(codes) > 1 else codes.shape[:0:-1])
    header.set_xyzt_units("mm")
    header.set_sform(affine[:, [2, 1, 0, 3]], code="scanner")
    header.set_qform(affine[:, [2, 1, 0, 3]], code="scanner")
    header.set_slope_inter(slope, 0)
    header.extensions.append(Nifti1Extension("comment", json.dumps(asdict(record)).encode()))
    stream = BytesIO()
    header.write_to(stream)
    stream.write(np.ascontiguousarray(codes))
    content = stream.getbuffer()
    content[CHECKSUM] = checksum_of(content)
    with whole_file(path, is_one_of_many=True) as temporary:
        temporary.write_bytes(content)


def checksum_of(content: memoryview) -> bytes:
    """CRC-32 of an entry's file, header, record and voxels.

    A CRC detects damage, and misses one case in four billion. It takes a sixth of the time of SHA-256, which matters:
    every run reads the whole store, and most runs prepare few scans or none.
    """
    before = crc32(bytes(CHECKSUM.stop - CHECKSUM.start), crc32(content[: CHECKSUM.start]))
    return b"%08x" % crc32(content[CHECKSUM.stop :], before)


def is_intact(path: Path) -> bool:
    """Is every byte of an entry what was written? OSError if it cannot be read."""
    content = memoryview(path.read_bytes())
    return content[CHECKSUM] == checksum_of(content)


def check_intact(path: Path, content: memoryview) -> None:
    """Raise ValueError for an entry that is not what was written; reading the bytes takes longer than this."""
    if content[CHECKSUM] != checksum_of(content):
        raise ValueError(f"{path}: its bytes changed since it was stored; 'dvc repro preprocess' writes it again.")


@dataclass(frozen=True)
class EntryHeader:
    """What comes before the voxels of an entry."""

    num_bytes: int
    """Of header and record together."""
    shape: tuple[int, int, int, int]
    """(C, D, H, W)"""
    slope: float
    affine: Affine
    record: ScanRecord


def read_entry(path: Path) -> StoredVolume:
    """Map an entry; a file that is short, foreign, damaged or without a record is an error."""
    # Only here: stages that need a scan or two do not wait for torch, see `load_entry`.
    import torch

    start = read_entry_header(path)
    # torch keeps no file open behind a map, as numpy and mmap do: a cohort has more scans than a process may open.
    mapped = torch.from_file(str(path), size=(start.num_bytes // 2) + math.prod(start.shape), dtype=torch.int16)
    check_intact(path, memoryview(mapped.numpy()).cast("B"))
    codes = mapped[start.num_bytes // 2 :].reshape(start.shape).numpy()
    codes.flags.writeable = False
    return StoredVolume(codes, start.slope, start.affine, start.record)


def load_entry(path: Path) -> StoredVolume:
    """The same entry read into memory, without torch."""
    start = read_entry_header(path)
    content = path.read_bytes()
    check_intact(path, memoryview(content))
    codes = np.frombuffer(content, "<i2", offset=start.num_bytes).reshape(start.shape)
    return StoredVolume(codes, start.slope, start.affine, start.record)


def read_record(path: Path) -> ScanRecord:
    """How an entry was made, without its voxels; the same errors as `read_entry`."""
    return read_entry_header(path).record


def read_entry_header(path: Path) -> EntryHeader:
    """Of a file that must be whole by its size."""
    with path.open("rb") as stream:
        num_bytes = os.fstat(stream.fileno()).st_size
        header = np.frombuffer(stream.read(EXTENSION_START).ljust(EXTENSION_START, b"\0"), HEADER, 1)[0]
        wide, high, deep, channels = header["dim"].tolist()[1:5]
        shape = (max(1, channels), deep, high, wide)
        before = num_bytes - 2 * math.prod(shape)
        is_whole = min(shape) > 0 and header["vox_offset"] == before and EXTENSION_START < before <= LARGEST_START
        record = parse_record(stream.read(before - EXTENSION_START)) if is_whole else None
    if record is None:
        raise ValueError(f"{path}: not a whole entry of the store; 'dvc repro preprocess' writes it again.")
    affine = np.array([header["srow_x"], header["srow_y"], header["srow_z"], (0, 0, 0, 1)], np.float64)
    return EntryHeader(before, shape, float(header["scl_slope"]), affine[:, [2, 1, 0, 3]], record)


def parse_record(extension: bytes) -> ScanRecord | None:
    """The record in a NIfTI extension: its size and code as int32, then JSON, then padding."""
    if int.from_bytes(extension[4:8], "little") != COMMENT:
        return None
    try:
        content = parse_json(extension[8:].rstrip(b"\0"), "NIfTI extension")
        return ScanRecord(**{**content, "warnings": tuple(content["warnings"])})
    except (ValueError, TypeError, KeyError):
        return None
