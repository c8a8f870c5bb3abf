"""Random numbers that depend on (seed, epoch, scan) alone, never on the order of work or on the worker."""

import hashlib

import numpy as np


def scan_seed(seed: int, epoch: int, scan_id: str) -> int:
    """The 32-bit seed of the random transforms of one scan in one epoch."""
    return int(np.random.SeedSequence(entropy_of(seed, epoch, scan_id)).generate_state(1)[0])


def mixing_rng(seed: int, epoch: int, scan_id: str) -> np.random.Generator:
    """Random numbers for how a scan is mixed with another, independent of its augmentation."""
    return np.random.default_rng(entropy_of(seed, epoch, scan_id)).spawn(1)[0]


def entropy_of(seed: int, epoch: int, scan_id: str) -> list[int]:
    """What seeds a scan's random numbers in one epoch."""
    digest = hashlib.sha256(scan_id.encode()).digest()
    return [seed, epoch, int.from_bytes(digest[:8], "little")]
