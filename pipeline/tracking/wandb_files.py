"""The files that W&B writes below wandb/: one folder for each time that a run was opened."""

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)
SUPERSEDED = "superseded"
PATTERNS = ("run-*", "offline-run-*")
"""Folders of runs that were online, and of those that wait for `wandb sync`."""
FILE_HEADER = b":W&B\xe1\xbe\x00"
BLOCK_SIZE = 32768
RECORD_HEADER = struct.Struct("<IHB")
"""Checksum, length and type of a piece of a record."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def run_folders(wandb: Path, run_id: str) -> list[Path]:
    """All folders of a run, oldest first."""
    return sorted((folder for folder in all_folders(wandb) if folder.name.endswith(f"-{run_id}")), key=start_time)


def unsynced_folders(wandb: Path) -> list[Path]:
    """Folders that the server lacks in whole or in part, oldest first."""
    return sorted((folder for folder in all_folders(wandb) if not is_synced(folder)), key=start_time)


def all_folders(wandb: Path) -> Iterable[Path]:
    return (folder for pattern in PATTERNS for folder in wandb.glob(pattern))


def start_time(folder: Path) -> str:
    """The time in the name of a folder."""
    return folder.name.removeprefix("offline-")


def is_synced(folder: Path) -> bool:
    """`wandb sync` leaves a marker file in a folder that it has uploaded, and so does `mark_synced`."""
    return any(folder.glob("*.synced"))


def mark_synced(folder: Path) -> None:
    """Mark the folder of a run that was online until it finished, so that `wandb sync` skips it."""
    for file in folder.glob("*.wandb"):
        file.with_suffix(".wandb.synced").touch()


def set_aside(wandb: Path, run_id: str) -> None:
    """Move the unsynced folders of a training that starts over: an upload would mix two beginnings under one id."""
    for folder in run_folders(wandb, run_id):
        if is_synced(folder):
            continue
        try:
            (wandb / SUPERSEDED).mkdir(exist_ok=True)
            folder.rename(wandb / SUPERSEDED / folder.name)
            log.info("tracking: %s was never uploaded and is superseded; moved to %s.", folder, wandb / SUPERSEDED)
        except OSError as error:
            log.warning("tracking: %s is superseded but could not be moved (%s); remove it.", folder, error)


def last_step(folders: Iterable[Path]) -> int:
    """The last step of the history in these folders of a run; -1 for none."""
    return max((last_step_of(folder) for folder in folders), default=-1)


def last_step_of(folder: Path) -> int:
    try:
        from pipeline.tracking.wandb_run import history_step

        steps = [history_step(record) for file in folder.glob("*.wandb") for record in read_records(file)]
    # Another version of wandb may write another layout, and tracking must not stop what it tracks.
    except Exception as error:
        log.warning("tracking: %s cannot be read (%s); some steps may be sent twice.", folder.name, error)
        return -1
    return max((step for step in steps if step is not None), default=-1)


def read_records(file: Path) -> Iterator[bytes]:
    """The records of a run file, each a serialized protobuf; of a file that was cut short, the complete ones.

    The layout is that of LevelDB's log: blocks of 32 KiB, in which a record is one piece or several.
    """
    content = file.read_bytes()
    if not content.startswith(FILE_HEADER):
        raise ValueError(f"{file}: expected a run file that starts with {FILE_HEADER!r}, got {content[:7]!r}")
    record = b""
    for kind, piece in read_pieces(content, len(FILE_HEADER)):
        record = piece if kind in (FULL, FIRST) else record + piece
        if kind in (FULL, LAST):
            yield record


def read_pieces(content: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each piece, up to the first one that is incomplete or whose checksum is wrong."""
    while True:
        left_in_block = BLOCK_SIZE - position % BLOCK_SIZE
        if left_in_block < RECORD_HEADER.size:
            position += left_in_block
        start = position + RECORD_HEADER.size
        if start > len(content):
            return
        checksum, length, kind = RECORD_HEADER.unpack_from(content, position)
        piece = content[start : start + length]
        if len(piece) < length or zlib.crc32(content[start - 1 : start + length]) != checksum:
            return
        yield kind, piece
        position = start + length
