"""Who is in the cohort: independent causes first, then the label they lead to, then where the patient is scanned."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import beta

from pipeline.cohorts.phantom.sites import SITES
from pipeline.config import PhantomSource

POSITIVE, NEGATIVE = "disease", "healthy"
AGE_YEARS = (45.0, 85.0)
MAX_SCANS = 3
DECOY_SHARE = 0.25
"""Patients, whatever their label, with a harmless lesion on the right."""

# Doses crowd at both ends, so that what limits a classifier is the chance in the label, not fine measuring.
DOSES = beta(0.25, 0.25)

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Patient:
    """One person, before any image is made."""

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
    """As the table has it, so the wrong one in a mislabelled patient."""
    site: str
    num_scans: int
    is_mislabelled: bool = False


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
    """Any site; or, as often as the shortcut is strong, one of the half of the sites that goes with the label."""
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
