"""Read NIfTI-1 and NIfTI-2 files: the header is checked before any voxel is read."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import header_dtype as nifti2_dtype

from pipeline.imaging.io.affine import find_affine
from pipeline.imaging.io.discover import pair_files
from pipeline.imaging.io.gzip import GZIP_MAGIC, Stream, open_stream
from pipeline.imaging.problems import Findings

NIFTI1_BYTES, NIFTI2_BYTES, FLAG_BYTES = 348, 540, 4
MAX_EXTENSIONS = 10_000
MAX_VOXELS = 1 << 31
"""With more than this, 1290 cubed, the header is wrong rather than the scan large."""

DTYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""Datatype codes of the standard with one real number per voxel."""
COMPLEX = {32: "complex64", 1792: "complex128", 2048: "complex256"}
RGB = {128: "RGB24", 2304: "RGBA32"}
UNSUPPORTED = {0: "unknown", 1: "binary", 1536: "float128"}


@dataclass(frozen=True)
class Header:
    """The fields of a NIfTI or DICOM header after all checks, lengths in mm."""

    shape: tuple[int, int, int]
    dtype: np.dtype
    """As stored, with its byte order."""
    vox_offset: int
    """First byte of the voxels in their file."""
    slope: float
    inter: float
    """value = slope · stored + inter; 1 and 0 if the file needs no scaling."""
    affine: np.ndarray
    """(4, 4) float64, voxel indices to RAS+ world coordinates in mm."""

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        return (self.slope, self.inter) != (1.0, 0.0)


def header_size(block: bytes) -> int:
    """Size of the header that starts with these 12 bytes: NIfTI-2 has its magic near the start."""
    return NIFTI2_BYTES if block[4:7] in (b"n+2", b"ni2") else NIFTI1_BYTES


def parse_header(block: bytes, is_pair: bool, findings: Findings) -> Header:
    """Parse the 348 bytes of a NIfTI-1 or the 540 of a NIfTI-2 header.

    `is_pair` means that the voxels are in a file of their own.
    """
    check_magic(block, is_pair, findings)
    fields = read_fields(block, findings)
    shape = read_shape(fields, findings)
    dtype = read_dtype(fields, findings)
    vox_offset = read_offset(fields, 0 if is_pair else len(block) + 4, findings)
    slope, inter = read_scaling(fields, findings)
    return Header(shape, dtype, vox_offset, slope, inter, find_affine(fields, shape, findings))


def check_magic(block: bytes, is_pair: bool, findings: Findings) -> None:
    if block[128:132] == b"DICM":
        findings.reject("DCM-FILE", findings.path.name)
    if len(block) == NIFTI2_BYTES:
        magic, expected = block[4:12], b"ni2\0\r\n\x1a\n" if is_pair else b"n+2\0\r\n\x1a\n"
    else:
        magic, expected = block[344:348], b"ni1\0" if is_pair else b"n+1\0"
    if magic != expected:
        findings.reject("NII-MAGIC", repr(magic))


def read_fields(block: bytes, findings: Findings) -> np.void:
    """The header's fields, in the byte order in which they are valid."""
    layout = nifti1_dtype if len(block) == NIFTI1_BYTES else nifti2_dtype
    little, big = (np.frombuffer(block, layout.newbyteorder(order))[0] for order in "<>")
    for fields in (little, big):
        if fields["sizeof_hdr"] == len(block):
            return fields
    findings.warn("NII-SIZEOF", little["sizeof_hdr"])
    return little if 1 <= little["dim"][0] <= 7 else big


def read_shape(fields: np.void, findings: Findings) -> tuple[int, int, int]:
    """The three axes of one volume."""
    num_axes = int(fields["dim"][0])
    if not 1 <= num_axes <= 7:
        findings.reject("NII-NDIM", num_axes)
    shape = tuple(int(size) for size in fields["dim"][1 : num_axes + 1])
    if min(shape) < 1:
        findings.reject("NII-DIMS", f"shape {shape}")
    if math.prod(shape[4:]) > 1:
        findings.reject("NII-5D", f"shape {shape}")
    if math.prod(shape[3:4]) > 1:
        findings.reject("NII-4D", f"shape {shape}, volumes 0 to {shape[3] - 1}")
    if num_axes < 3 or min(shape[:3]) < 2:
        findings.reject("NII-FLAT", f"shape {shape}")
    if math.prod(shape) > MAX_VOXELS:
        findings.reject("NII-HUGE", f"shape {shape}")
    return shape[:3]


def read_dtype(fields: np.void, findings: Findings) -> np.dtype:
    """The stored number type, in the header's byte order."""
    code = int(fields["datatype"])
    if code in RGB:
        findings.reject("NII-RGB", RGB[code])
    if code in COMPLEX:
        findings.reject("NII-COMPLEX", COMPLEX[code])
    if code not in DTYPES:
        findings.reject("NII-DTYPE", f"code {code} ({UNSUPPORTED.get(code, 'not in the standard')})")
    dtype = np.dtype(DTYPES[code]).newbyteorder(fields["dim"].dtype.byteorder)
    if fields["bitpix"] != 8 * dtype.itemsize:
        findings.warn("NII-BITPIX", f"{fields['bitpix']} bits for {dtype.name}")
    return dtype


def read_offset(fields: np.void, smallest: int, findings: Findings) -> int:
    """First byte of the voxels."""
    offset = float(fields["vox_offset"])
    if not offset.is_integer() or offset < smallest:
        findings.reject("NII-OFFSET", f"{offset:g}, expected a whole number from {smallest}")
    return int(offset)


def read_scaling(fields: np.void, findings: Findings) -> tuple[float, float]:
    """(slope, inter); a slope of zero means no scaling."""
    slope, inter = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(inter)):
        findings.warn("NII-SLOPE", f"slope {slope:g}, intercept {inter:g}")
        return 1.0, 0.0
    return slope, inter


def read_nifti(findings: Findings) -> tuple[Header, np.ndarray]:
    """Header and flat voxels as stored, in the machine's byte order."""
    header_path, voxels_path = locate(findings)
    is_pair = header_path != voxels_path
    with ExitStack() as files:
        stream = files.enter_context(open_stream(header_path, findings))
        header, header_bytes = read_header(stream, is_pair, findings)
        if is_pair:
            stream = files.enter_context(open_stream(voxels_path, findings))
            check_length(stream, header, findings)
            skip(stream, header.vox_offset, findings)
        else:
            has_extensions = read_flag(stream, findings)
            check_length(stream, header, findings)
            position = header_bytes + FLAG_BYTES
            if has_extensions and header.vox_offset == position:
                return header, read_voxels(stream, header, findings, on_rest=reject_extension)
            if has_extensions:
                position = skip_extensions(stream, position, header.vox_offset, findings)
            skip(stream, header.vox_offset - position, findings)
        return header, read_voxels(stream, header, findings)


def locate(findings: Findings) -> tuple[Path, Path]:
    """Files of header and voxels: the same file twice, or a pair, of which either file may be given."""
    path = findings.path
    halves = pair_files(path)
    if halves is None:
        return path, path
    other = halves[1] if path == halves[0] else halves[0]
    if path.is_file() and not other.exists():
        findings.reject("NII-PAIR", f"no {other.name}")
    return halves


def read_header(stream: Stream, is_pair: bool, findings: Findings) -> tuple[Header, int]:
    """The header, and its size in bytes."""
    start = read(stream, NIFTI1_BYTES)
    if start.startswith(GZIP_MAGIC):
        findings.reject("NII-GZIP-TWICE", "gzip inside gzip")
    size = header_size(start)
    block = start + read(stream, size - len(start))
    if len(block) < size:
        findings.reject("NII-HEADER", f"{len(block)} bytes")
    return parse_header(block, is_pair, findings), size


def check_length(stream: Stream, header: Header, findings: Findings) -> None:
    """Reject a file too short for its voxels, before anything is skipped or allocated."""
    present = stream.max_bytes - header.vox_offset
    if present < 0:
        findings.reject("NII-OFFSET", f"{header.vox_offset}, beyond the end at {stream.max_bytes}")
    if present == 0:
        findings.reject("NII-HEADER-ONLY", f"{stream.max_bytes} bytes")
    if present < header.num_bytes:
        findings.reject("NII-SHORT", f"{present} bytes at most, {header.num_bytes} declared")


def read_flag(stream: Stream, findings: Findings) -> bool:
    """Whether extensions follow the header, from the first of the four bytes after it."""
    flag = read(stream, FLAG_BYTES)
    if len(flag) < FLAG_BYTES:
        findings.reject("NII-HEADER-ONLY", f"{len(flag)} bytes after the header")
    return flag[0] != 0


def skip_extensions(stream: Stream, position: int, vox_offset: int, findings: Findings) -> int:
    """Skip the extensions, each of which starts with its size, up to the voxels; returns the new position."""
    for _ in range(MAX_EXTENSIONS):
        if position == vox_offset:
            return position
        size = read_extension_size(stream, vox_offset - position, findings)
        skip(stream, size - 4, findings)
        position += size
    findings.reject("NII-EXTENSION", f"over {MAX_EXTENSIONS} extensions")


def read_extension_size(stream: Stream, room: int, findings: Findings) -> int:
    """Size of the next extension, a multiple of 16, in the byte order in which it is valid."""
    block = read(stream, 4)
    sizes = [int.from_bytes(block, order, signed=True) for order in ("little", "big")]
    for size in sizes:
        if 16 <= size <= room and size % 16 == 0:
            return size
    findings.reject("NII-EXTENSION", f"{min(sizes, key=abs)} bytes, expected a multiple of 16 up to {room}")


def warn_of_rest(num_bytes: int, findings: Findings) -> None:
    findings.warn("NII-EXTRA", f"{num_bytes} bytes")


def reject_extension(num_bytes: int, findings: Findings) -> None:
    """An extension is announced without room for it before the voxels, so they were read from inside it.

    A file that ends with its voxels has no extension, although some writers announce one.
    """
    findings.reject("NII-EXTENSION", f"no room before vox_offset and {num_bytes} bytes after the image")


def read_voxels(
    stream: Stream, header: Header, findings: Findings, on_rest: Callable[[int, Findings], None] = warn_of_rest
) -> np.ndarray:
    """Flat array of the stored values, in the machine's byte order; `on_rest` is called if bytes follow them."""
    stored = np.empty(header.num_bytes // header.dtype.itemsize, header.dtype)
    count = stream.readinto(memoryview(stored).cast("B"))
    if count < header.num_bytes:
        findings.reject("NII-SHORT" if count else "NII-HEADER-ONLY", f"{count} bytes, {header.num_bytes} declared")
    if rest := stream.rest():
        on_rest(rest, findings)
    if not header.dtype.isnative:
        stored = stored.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return stored


def read(stream: Stream, count: int) -> bytes:
    """The next bytes, fewer at the file's end."""
    block = bytearray(count)
    return bytes(block[: stream.readinto(memoryview(block))])


def skip(stream: Stream, count: int, findings: Findings) -> None:
    """Skip `count` bytes, which must exist."""
    scratch = memoryview(bytearray(min(count, 1 << 20)))
    while count > 0:
        step = stream.readinto(scratch[:count])
        if step == 0:
            findings.reject("NII-OFFSET", f"{count} bytes beyond the end")
        count -= step
