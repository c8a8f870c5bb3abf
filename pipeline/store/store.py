"""The store: a folder of preprocessed scans, one file each, and a manifest.

Every entry carries its own record and appears by rename, so writers need no lock: two that prepare the same scan write
the same bytes, and a kill at any moment leaves whole entries and at worst a hidden temporary file. The manifest is a
summary of the records, written last.
"""

import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from pipeline.core.io import is_abandoned, sync_file, write_json
from pipeline.imaging.geometry import Affine
from pipeline.imaging.voxel_codes import encode
from pipeline.store.nifti_entry import (
    ScanRecord,
    StoredVolume,
    is_intact,
    load_entry,
    read_entry,
    read_record,
    sha256_of,
    write_entry,
)

SUFFIX = ".nii"
MAX_NAME = 180
"""File systems hold names of 255 bytes, and a temporary file's is longer than its own."""
CUT = "%~"
"""Between the start of a long name and the hash of the whole; no quoted name holds it."""


class Store:
    """Preprocessed scans of one cohort, by scan id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, scan_id: str) -> Path:
        """The scan's file; characters that file names cannot hold are written as %XX, a long name ends in its hash."""
        name = quote(scan_id, safe=" ")
        if len(name) > MAX_NAME:
            name = f"{name[:MAX_NAME]}{CUT}{hashlib.sha256(scan_id.encode()).hexdigest()[:16]}"
        # A leading dot would make the file hidden, as temporary files are.
        return self.folder / f"{'%2E' + name[1:] if name.startswith('.') else name}{SUFFIX}"

    def write(
        self,
        scan_id: str,
        array: NDArray[np.float32],
        affine: Affine,
        *,
        source_sha256: str,
        plan_sha256: str,
        code_sha256: str,
        warnings: tuple[str, ...] = (),
    ) -> ScanRecord:
        """Keep a prepared scan (C, D, H, W); OSError if the folder cannot be written or the disk is full."""
        codes, slope = encode(array)
        record = ScanRecord(scan_id, source_sha256, plan_sha256, code_sha256, sha256_of(codes), warnings)
        write_entry(self.path(scan_id), codes, slope, affine, record)
        return record

    def sync(self, scan_ids: Iterable[str]) -> None:
        """Wait until these scans are on the disk, all together, for one by one every writer would wait for each."""
        for scan_id in scan_ids:
            sync_file(self.path(scan_id))

    def entry(self, scan_id: str) -> StoredVolume:
        """The scan as it is stored, memory-mapped."""
        return self._open(scan_id, read_entry)

    def read(self, scan_id: str) -> tuple[NDArray[np.float32], Affine]:
        """Voxels (C, D, H, W) and the affine from their index to RAS millimeters."""
        entry = self._open(scan_id, load_entry)
        return entry.decode(), entry.affine

    def _open(self, scan_id: str, opened: Callable[[Path], StoredVolume]) -> StoredVolume:
        path = self.path(scan_id)
        try:
            return opened(path)
        except FileNotFoundError:
            message = f"{path}: scan '{scan_id}' is not in the store; 'dvc repro preprocess' writes it."
            raise FileNotFoundError(message) from None

    def record(self, scan_id: str) -> ScanRecord | None:
        """How the scan was made; None if it is missing, not whole or another scan's."""
        try:
            record = read_record(self.path(scan_id))
        except (FileNotFoundError, ValueError):
            return None
        return record if record.scan_id == scan_id else None

    def scan_ids(self) -> list[str]:
        """All scans here, sorted."""
        return sorted(self._scan_id(path) for path in self._files())

    def _scan_id(self, path: Path) -> str:
        """The id that a file is named after; of a long one its record has it."""
        name = path.name.removesuffix(SUFFIX)
        return read_record(path).scan_id if CUT in name else unquote(name)

    def _files(self) -> Iterable[Path]:
        return self.folder.glob(f"[!.]*{SUFFIX}")

    def prune(self, keep: Iterable[str]) -> None:
        """Remove every other scan, and temporary files of writers that were killed."""
        kept = set(map(self.path, keep))
        for path in self._files():
            if path not in kept:
                path.unlink(missing_ok=True)
        for temporary in self.folder.glob(f".*{SUFFIX}"):
            if is_abandoned(temporary):
                temporary.unlink(missing_ok=True)

    def write_manifest(self, records: Iterable[ScanRecord]) -> None:
        """Write manifest.json: the record of every scan, sorted."""
        ordered = sorted(records, key=lambda record: record.scan_id)
        write_json(self.folder / "manifest.json", {"scans": [asdict(record) for record in ordered]})

    def fingerprint(self, scan_ids: Iterable[str]) -> str:
        """SHA-256 over the voxels of these scans, whatever their order."""
        lines = sorted(f"{scan_id}\t{read_record(self.path(scan_id)).voxels_sha256}" for scan_id in scan_ids)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def verify(self, scan_ids: Iterable[str], *, threads: int = 1) -> list[str]:
        """The scans whose files are gone or no longer as they were written; every byte is read."""
        names = list(scan_ids)
        with ThreadPoolExecutor(threads) as pool:
            intact = pool.map(self.is_intact, names)
            return [name for name, whole in zip(names, intact, strict=True) if not whole]

    def is_intact(self, scan_id: str) -> bool:
        try:
            return is_intact(self.path(scan_id))
        except OSError:
            return False
