"""Random numbers that depend on (seed, epoch, scan) alone: never on the order of work or on who does it."""

import hashlib

import numpy as np


def scan_rng(seed: int, epoch: int, scan_id: str) -> np.random.Generator:
    """Random numbers of one scan in one epoch, whoever loads it and whatever else is in the table."""
    digest = hashlib.sha256(scan_id.encode()).digest()
    return np.random.default_rng([seed, epoch, int.from_bytes(digest[:8], "little")])


def mixing_rng(seed: int, epoch: int, scan_id: str) -> np.random.Generator:
    """The same for how a scan is mixed with another, independent of how it is augmented."""
    return scan_rng(seed, epoch, scan_id).spawn(1)[0]
