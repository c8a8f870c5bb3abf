"""The patients of the phantom: sites, scanners, covariates, disease."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta

from pipeline.cohorts.sources.phantom.options import PhantomSource


@dataclass(frozen=True)
class Scanner:
    """The properties of one scanner's files."""

    name: str
    site: str
    has_head: bool
    """Skull, scalp and noise in the background; otherwise the site sends stripped brains."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along (i, j, k)."""
    axcodes: str
    """The directions of (i, j, k)."""
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
    """The scanners of one hospital."""
    return [scanner for scanner in SCANNERS if scanner.site == site]


POSITIVE, NEGATIVE = "disease", "healthy"
AGE_YEARS = (45.0, 85.0)
MAX_SCANS = 3
DECOY_SHARE = 0.25
"""Patients, whatever their label, with a harmless lesion on the right."""

# Doses concentrate at both ends, so that chance in the label limits a classifier, not the precision of measurement.
DOSES = beta(0.25, 0.25)

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Patient:
    """A patient, before any image is made."""

    index: int
    patient_id: str
    age: float
    """Years."""
    sex: str
    """F or M."""
    dose: float
    """Strength of the lesion on the left, 0..1; the only cause of the label."""
    decoy_dose: float
    """Strength of the harmless one on the right, 0..1; 0 in most."""
    probability: float
    """True probability of the positive label."""
    label: str
    """The label in the table: the wrong one for a mislabeled patient."""
    site: str
    num_scans: int
    is_mislabeled: bool = False


def draw_population(source: PhantomSource) -> list[Patient]:
    """Draw all patients; only `site` may depend on the label, and only with a planted shortcut."""
    rng = np.random.default_rng([source.seed, 0])
    intercept, slope = solve_disease(source.prevalence, source.best_auroc)
    return [
        _draw_patient(index, lambda dose: float(expit(intercept + slope * dose)), source.site_shortcut, rng)
        for index in range(source.num_patients)
    ]


def _draw_patient(
    index: int, risk: Callable[[float], float], site_shortcut: float, rng: np.random.Generator
) -> Patient:
    """Draw one patient; `risk` is the probability of the positive label at a dose."""
    dose = float(DOSES.ppf(rng.random()))
    probability = risk(dose)
    is_positive = rng.random() < probability
    return Patient(
        index=index,
        patient_id=f"sub-{index + 1:04d}",
        age=round(rng.uniform(*AGE_YEARS), 1),
        sex=str(rng.choice(["F", "M"])),
        dose=dose,
        decoy_dose=float(DOSES.ppf(rng.random()) * (rng.random() < DECOY_SHARE)),
        probability=probability,
        label=POSITIVE if is_positive else NEGATIVE,
        site=_draw_site(is_positive, site_shortcut, rng),
        num_scans=int(rng.integers(1, MAX_SCANS + 1)),
    )


def _draw_site(is_positive: bool, site_shortcut: float, rng: np.random.Generator) -> str:
    """Any site; with the probability of the shortcut, a site from the half that corresponds to the label."""
    candidates = SITES[: len(SITES) // 2] if is_positive else SITES[len(SITES) // 2 :]
    return str(rng.choice(candidates if rng.random() < site_shortcut else SITES))


def solve_disease(prevalence: float, best_auroc: float) -> tuple[float, float]:
    """(a, b) of p = σ(a + b·dose) with this prevalence and this AUROC of p itself.

    Both are means over the dose's distribution, taken at 4,001 even quantiles instead of random draws.
    """
    doses = DOSES.ppf((np.arange(4001) + 0.5) / 4001)

    def intercept(slope: float) -> float:
        return brentq(lambda a: expit(a + slope * doses).mean() - prevalence, -200, 200)

    def excess(slope: float) -> float:
        return expected_auroc(expit(intercept(slope) + slope * doses)) - best_auroc

    slope = brentq(excess, 1e-6, 100)
    return intercept(slope), slope


def expected_auroc(probabilities: Floats) -> float:
    """AUROC of probabilities when each label is drawn with its own: the share of pairs in the right order."""
    ascending = np.sort(probabilities)
    negatives_below = np.concatenate([[0.0], np.cumsum(1 - ascending)[:-1]])
    pairs = ascending.sum() * (1 - ascending).sum() - (ascending * (1 - ascending)).sum()
    return float((ascending * negatives_below).sum() / pairs)
