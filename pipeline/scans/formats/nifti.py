"""NIfTI-1 and -2 files, plain, gzipped or in two: header and stored voxels, inflated into the array's own memory.

The header is checked against the size of its file before anything is skipped over or allocated.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.scans.checking.codes import Findings
from pipeline.scans.checking.header import NIFTI1_BYTES, Header, header_size, parse_header
from pipeline.scans.checking.stream import GZIP_MAGIC, Stream, open_stream
from pipeline.scans.scan_files import halves_of

FLAG_BYTES = 4
MOST_EXTENSIONS = 10_000


def read_nifti(findings: Findings) -> tuple[Header, np.ndarray]:
    """Header and flat voxels as stored, in the machine's byte order."""
    header_path, voxels_path = locate(findings)
    is_pair = header_path != voxels_path
    with ExitStack() as files:
        stream = files.enter_context(open_stream(header_path, findings))
        header, header_bytes = read_header(stream, is_pair, findings)
        if is_pair:
            stream = files.enter_context(open_stream(voxels_path, findings))
            refuse_short(stream, header, findings)
            skip(stream, header.vox_offset, findings)
        else:
            has_extensions = read_flag(stream, findings)
            refuse_short(stream, header, findings)
            position = header_bytes + FLAG_BYTES
            if has_extensions:
                position = skip_extensions(stream, position, header.vox_offset, findings)
            skip(stream, header.vox_offset - position, findings)
        return header, read_voxels(stream, header, findings)


def locate(findings: Findings) -> tuple[Path, Path]:
    """Files of header and voxels: one and the same, or a pair of which either may be given."""
    path = findings.path
    halves = halves_of(path)
    if halves is None:
        return path, path
    other = halves[1] if path == halves[0] else halves[0]
    if path.is_file() and not other.exists():
        findings.reject("NII-PAIR", f"no {other.name}")
    return halves


def read_header(stream: Stream, is_pair: bool, findings: Findings) -> tuple[Header, int]:
    """The header, and how many bytes of the stream it took."""
    start = read(stream, NIFTI1_BYTES)
    if start.startswith(GZIP_MAGIC):
        findings.reject("NII-GZIP-TWICE", "gzip inside gzip")
    size = header_size(start)
    block = start + read(stream, size - len(start))
    if len(block) < size:
        findings.reject("NII-HEADER", f"{len(block)} bytes")
    return parse_header(block, is_pair, findings), size


def refuse_short(stream: Stream, header: Header, findings: Findings) -> None:
    """Nothing is skipped over or allocated for what the file cannot hold."""
    present = stream.most_bytes - header.vox_offset
    if present < 0:
        findings.reject("NII-OFFSET", f"{header.vox_offset}, beyond the end at {stream.most_bytes}")
    if present == 0:
        findings.reject("NII-HEADER-ONLY", f"{stream.most_bytes} bytes")
    if present < header.num_bytes:
        findings.reject("NII-SHORT", f"{present} bytes at most, {header.num_bytes} declared")


def read_flag(stream: Stream, findings: Findings) -> bool:
    """Do extensions follow the header? The first of the four bytes after it says so."""
    flag = read(stream, FLAG_BYTES)
    if len(flag) < FLAG_BYTES:
        findings.reject("NII-HEADER-ONLY", f"{len(flag)} bytes after the header")
    return flag[0] != 0


def skip_extensions(stream: Stream, position: int, vox_offset: int, findings: Findings) -> int:
    """Walk over extensions, each of which says its own size, up to the voxels; returns the new position."""
    for _ in range(MOST_EXTENSIONS):
        if position == vox_offset:
            return position
        size = read_extension_size(stream, vox_offset - position, findings)
        skip(stream, size - 4, findings)
        position += size
    findings.reject("NII-EXTENSION", f"over {MOST_EXTENSIONS} extensions")


def read_extension_size(stream: Stream, room: int, findings: Findings) -> int:
    """Bytes of the next extension, a multiple of 16, in whichever byte order makes sense."""
    block = read(stream, 4)
    sizes = [int.from_bytes(block, order, signed=True) for order in ("little", "big")]
    for size in sizes:
        if 16 <= size <= room and size % 16 == 0:
            return size
    findings.reject("NII-EXTENSION", f"{min(sizes, key=abs)} bytes, expected a multiple of 16 up to {room}")


def read_voxels(stream: Stream, header: Header, findings: Findings) -> np.ndarray:
    """Flat array of the stored values, in the machine's byte order."""
    stored = np.empty(header.num_bytes // header.dtype.itemsize, header.dtype)
    count = stream.readinto(memoryview(stored).cast("B"))
    if count < header.num_bytes:
        findings.reject("NII-SHORT" if count else "NII-HEADER-ONLY", f"{count} bytes, {header.num_bytes} declared")
    if rest := stream.rest():
        findings.warn("NII-EXTRA", f"{rest} bytes")
    if not header.dtype.isnative:
        stored = stored.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    return stored


def read(stream: Stream, count: int) -> bytes:
    """The next bytes, fewer at the file's end."""
    block = bytearray(count)
    return bytes(block[: stream.readinto(memoryview(block))])


def skip(stream: Stream, count: int, findings: Findings) -> None:
    """Move on by so many bytes, which must be there."""
    scratch = memoryview(bytearray(min(count, 1 << 20)))
    while count > 0:
        step = stream.readinto(scratch[:count])
        if step == 0:
            findings.reject("NII-OFFSET", f"{count} bytes beyond the end")
        count -= step
