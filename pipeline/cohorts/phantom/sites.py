"""Hospitals and their scanners. A patient stays at one site; each scan is made on one of its two machines."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scanner:
    """How one machine makes files."""

    name: str
    site: str
    has_head: bool
    """Skull, scalp and noise in the background; otherwise the site sends stripped brains."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along (i, j, k)."""
    axcodes: str
    """Where (i, j, k) point."""
    tilt_deg: float
    """Rotation of the slices about the left-right axis."""
    white: float
    """Stored value of white matter."""
    gamma: float
    """Contrast: the power of the relative signal."""
    noise: float
    """Standard deviation, as a share of white matter."""
    blur_mm: float
    """Standard deviation of the point spread, along each axis."""
    dtype: str
    """As stored."""


SCANNERS = (
    Scanner("north-1", "north", False, (2.0, 2.0, 2.0), "RAS", 0, 120, 1.0, 0.025, 0.0, "int16"),
    Scanner("north-2", "north", False, (0.8, 0.8, 3.0), "LPS", 12, 50, 0.9, 0.025, 0.8, "uint8"),
    Scanner("south-1", "south", False, (1.8, 1.8, 1.8), "LIA", 0, 60, 1.2, 0.040, 1.0, "float32"),
    Scanner("south-2", "south", False, (1.4, 3.0, 1.4), "RSP", -8, 150, 1.1, 0.020, 1.5, "uint16"),
    Scanner("east-1", "east", True, (2.2, 2.2, 2.2), "PSR", 5, 60, 0.8, 0.025, 0.0, "uint8"),
    Scanner("east-2", "east", True, (1.6, 1.6, 3.0), "LAS", -15, 90, 1.0, 0.015, 0.8, "int16"),
    Scanner("west-1", "west", True, (2.5, 1.8, 1.8), "RAS", 0, 70, 1.3, 0.020, 1.0, "uint8"),
    Scanner("west-2", "west", True, (2.0, 2.0, 2.5), "RPI", 10, 80, 0.9, 0.030, 1.5, "int16"),
)
"""Voxels of 0.8 to 3 mm, mostly anisotropic; every plane, both handednesses, straight and tilted."""

SITES = tuple(dict.fromkeys(scanner.site for scanner in SCANNERS))


def scanners_of(site: str) -> list[Scanner]:
    """The machines of one hospital."""
    return [scanner for scanner in SCANNERS if scanner.site == site]
