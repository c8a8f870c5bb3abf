"""Stream a scan's file, plain or gzipped, with no more bytes in memory than requested."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib

from pipeline.imaging.problems import Findings

GZIP_MAGIC = b"\x1f\x8b"
LFS_MAGIC = b"version https://git-lfs"
BLOCK = 1 << 18
"""Bytes read and decompressed at a time. isal allocates the most it may return before it knows the actual size, and
blocks that stay in the processor's cache are faster than one array of the whole image."""
MAX_DEFLATE_RATIO = 1032
"""Deflate cannot expand one byte to more bytes than this."""
MAX_TRAILING_BYTES = 16 << 20
"""With more bytes than this after the image, a stream is a decompression bomb, not padding."""
MAX_EMPTY_MEMBERS = 1000
"""Block-wise compressors end with one; a file of only empty members would take hours."""


class PlainStream:
    """An uncompressed file."""

    def __init__(self, file: BinaryIO, num_bytes: int):
        self._file = file
        self.max_bytes = num_bytes

    def readinto(self, view: memoryview) -> int:
        """Fill `view`; returns the number of bytes read, fewer only at the end."""
        filled = 0
        while filled < len(view) and (count := self._file.readinto(view[filled:])):
            filled += count
        return filled

    def rest(self) -> int:
        """Number of bytes that were not read."""
        return self.max_bytes - self._file.tell()


class GzipStream:
    """A gzip file of one or several members, decompressed by isal, which verifies each checksum."""

    def __init__(self, file: BinaryIO, num_bytes: int, findings: Findings):
        self._file, self._findings, self._num_bytes = file, findings, num_bytes
        self._start_member(b"")
        self._ended = False
        self._num_idle = 0
        self.max_bytes = num_bytes * MAX_DEFLATE_RATIO

    def readinto(self, view: memoryview) -> int:
        """Fill `view`; returns the number of bytes read, fewer only at the end."""
        filled = 0
        while filled < len(view) and (block := self._read_block(len(view) - filled)):
            view[filled : filled + len(block)] = block
            filled += len(block)
        return filled

    def rest(self) -> int:
        """Read to the end, which verifies the checksum; returns the number of bytes."""
        count = 0
        while block := self._read_block(BLOCK):
            count += len(block)
            if count > MAX_TRAILING_BYTES:
                self._findings.reject("NII-BOMB", f"over {MAX_TRAILING_BYTES >> 20} MiB after the image")
        return count

    def _read_block(self, limit: int) -> bytes:
        """The next bytes, at most `limit`; empty at the end."""
        while not self._ended:
            if self._decompressor.eof:
                self._next_member()
                continue
            block = self._decompress(limit)
            if block:
                self._num_idle = 0
                return block
        return b""

    def _decompress(self, limit: int) -> bytes:
        compressed, self._pending = self._pending, b""
        if not compressed and self._decompressor.needs_input:
            compressed = self._file.read(BLOCK)
            if not compressed:
                self._findings.reject("NII-TRUNCATED", f"{self._num_bytes} bytes")
        try:
            return self._decompressor.decompress(compressed, max_length=min(limit, BLOCK))
        except igzip_lib.IsalError as error:
            self._findings.reject("NII-CRC" if "checksum" in str(error) else "NII-DEFLATE", error)

    def _start_member(self, compressed: bytes) -> None:
        self._decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._pending = compressed

    def _next_member(self) -> None:
        following = self._decompressor.unused_data + self._file.read(len(GZIP_MAGIC))
        if following.startswith(GZIP_MAGIC):
            self._num_idle += 1
            if self._num_idle > MAX_EMPTY_MEMBERS:
                self._findings.reject("NII-BOMB", f"over {MAX_EMPTY_MEMBERS} empty gzip members in a row")
            self._start_member(following)
            return
        self._ended = True
        if following:
            self._findings.warn("NII-TRAILING", f"{len(following) + self._num_bytes - self._file.tell()} bytes")


Stream = PlainStream | GzipStream


@contextmanager
def open_stream(path: Path, findings: Findings) -> Iterator[Stream]:
    """Open a file by its content; a file that cannot be a scan is rejected."""
    num_bytes = size_of_file(path, findings)
    try:
        with path.open("rb") as file:
            start = file.read(1024)
            file.seek(0)
            check_not_text(start, findings)
            is_gzip = start.startswith(GZIP_MAGIC)
            if is_gzip != (path.suffix.lower() == ".gz"):
                findings.warn("NII-SUFFIX", "gzip" if is_gzip else "no gzip")
            yield GzipStream(file, num_bytes, findings) if is_gzip else PlainStream(file, num_bytes)
    except OSError as error:
        findings.reject("NII-ACCESS", error.strerror or error)


def size_of_file(path: Path, findings: Findings) -> int:
    """Size of a regular, non-empty file; anything else is rejected."""
    try:
        status = path.stat()
    except FileNotFoundError:
        findings.reject("NII-LINK" if path.is_symlink() else "NII-MISSING", path.name)
    except OSError as error:
        findings.reject("NII-ACCESS", error.strerror or error)
    if not stat.S_ISREG(status.st_mode):
        # Opening a pipe would wait forever.
        findings.reject("NII-DIRECTORY", "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe")
    if status.st_size == 0:
        findings.reject("NII-EMPTY", "0 bytes")
    return status.st_size


def check_not_text(start: bytes, findings: Findings) -> None:
    """Reject text, which has no control bytes; a NIfTI header always has zeros."""
    if start.startswith(LFS_MAGIC):
        findings.reject("NII-LFS", LFS_MAGIC.decode())
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):
        findings.reject("NII-TEXT", repr(start[:40].decode(errors="replace")))
