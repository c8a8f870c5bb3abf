"""Similarity of two scans: the correlation of their descriptors, beyond what all scans share, after a fit.

Legend: N scans, G cells per axis, C cells of the central part of a descriptor, K shared components.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.splits.near_duplicates.descriptors import (
    CELLS,
    IDENTITY,
    AxisPermutation,
    Descriptors,
    box,
    sample,
)

CENTRAL = slice(CELLS // 6, CELLS - CELLS // 6)
"""The cells on which scans are compared: two standard deviations from the center."""
SCANS_PER_COMPONENT, MAX_COMPONENTS = 10, 8
SCANS_IN_COMPONENT = 2.0
MAX_SCANS = 2000
"""Shared components are found in so many scans, evenly spaced: eight of them are known from far fewer than all."""
SAME_CONTENT = 0.7
"""Correlation beyond the mean from which scans count as one content: a rough measure, before any fit."""
NUM_STEPS = 6
STEP_LIMIT = 0.15
"""Largest change of scale or shift in one step, in half descriptors."""
SCALE_LIMITS = (0.7, 1.4)
NUM_LEVELS = 12
"""Levels of intensity whose mean in the other scan may be anything, so that inverted or windowed copies are found."""
MIN_CELLS = 500
"""Cells that two scans must have in common to be compared."""
MIN_AFTER_TWO_STEPS = 0.5
"""Less similar pairs are not fitted further."""


@dataclass(frozen=True)
class SharedComponents:
    """What all scans of a cohort share: their mean and principal components as orthonormal rows (K, C)."""

    rows: np.ndarray

    def remove_from(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, C) without their shared components, at unit length."""
        return to_unit_length(vectors - (vectors @ self.rows.T) @ self.rows)


def to_unit_length(vectors: np.ndarray) -> np.ndarray:
    """Rows (N, C) divided by their norms; rows of zeros stay zeros."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)


def find_shared_components(descriptors: Descriptors) -> SharedComponents:
    """Mean and principal components of a cohort, at most one component per ten contents.

    Copies of one scan are weighted as one scan, deviations from the mean have unit length, inverted scans are inverted
    back, and a component needs the variance of SCANS_IN_COMPONENT scans: otherwise the content of one unusual scan, or
    of its copies, would become a shared component.
    """
    every = -(-len(descriptors.cells) // MAX_SCANS)
    vectors = central_vectors(Descriptors(descriptors.cells[::every], descriptors.inside[::every]))
    weights = 1 / count_copies(vectors - vectors.mean(0))
    vectors = vectors * np.where(vectors @ np.average(vectors, axis=0, weights=weights) < 0, -1, 1)[:, None]
    mean = np.average(vectors, axis=0, weights=weights)
    rest = to_unit_length(vectors - mean) * np.sqrt(weights)[:, None]
    most = min(MAX_COMPONENTS, round(weights.sum()) // SCANS_PER_COMPONENT)
    eigenvalues, eigenvectors = np.linalg.eigh(rest @ rest.T)
    number = min(most, int((eigenvalues >= SCANS_IN_COMPONENT).sum()))
    components = eigenvectors[:, ::-1][:, :number].T @ rest
    basis = np.concatenate([mean[None], components])
    return SharedComponents(np.linalg.qr(basis.T)[0].T.astype(np.float32))


def count_copies(rest: np.ndarray) -> np.ndarray:
    """The number of vectors (N, C) with the content of each vector, itself included, (N,)."""
    unit = to_unit_length(rest)
    return np.maximum((unit @ unit.T >= SAME_CONTENT).sum(1), 1)


def central_vectors(descriptors: Descriptors, permutation: AxisPermutation = IDENTITY) -> np.ndarray:
    """The central cells (N, C) of permuted descriptors, each with mean 0 and standard deviation 1."""
    cells = permutation.apply(descriptors.cells)[:, CENTRAL, CENTRAL, CENTRAL]
    vectors = cells.reshape(len(cells), -1)
    rest = vectors - vectors.mean(1, keepdims=True)
    return rest / np.maximum(rest.std(1, keepdims=True), 1e-6)


def fitted_similarity(
    descriptors: Descriptors, shared: SharedComponents, first: int, second: int, permutation: AxisPermutation
) -> float:
    """Correlation, at most 1, of two scans after the second is permuted, shifted and scaled to fit the first.

    Only cells that are inside both scans count. Before they are correlated, each level of intensity of the second scan
    gets its mean in the first one, as in the correlation ratio (Roche et al. 1998): inversion, gamma and windows change
    intensities, not where they are equal.
    """
    fixed, fixed_mask = descriptors.cells[first][CENTRAL, CENTRAL, CENTRAL], box(descriptors.inside[first][:, CENTRAL])
    moving = permutation.apply(descriptors.cells[second])
    inside = permutation.apply_to_axes(descriptors.inside[second])
    grid = np.linspace(-1, 1, CELLS)[CENTRAL]
    scale, shift, best = np.ones(3), np.zeros(3), -1.0
    for step in range(NUM_STEPS):
        positions = [
            (grid * factor + offset + 1) * (CELLS - 1) / 2 for factor, offset in zip(scale, shift, strict=True)
        ]
        mask = fixed_mask & box(
            [_inside_at(values, position) for values, position in zip(inside, positions, strict=True)]
        )
        if mask.sum() < MIN_CELLS:
            break
        warped = sample(moving, positions)
        seen = match_levels(warped[mask], fixed[mask])
        best = max(best, _correlation(fixed[mask], seen, shared.rows[:, mask.ravel()]))
        if step == 1 and best < MIN_AFTER_TWO_STEPS:
            break
        change = _gauss_newton(fixed, warped, mask, grid)
        scale = np.clip(scale + change[:3], *SCALE_LIMITS)
        shift = shift + change[3:]
    return best


def match_levels(values: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Values (C,) mapped to the mean of `targets` (C,) at their level, linear between levels of equal size."""
    order, levels = np.argsort(values, kind="stable"), np.arange(min(NUM_LEVELS, len(values)))
    size, rest = divmod(len(values), NUM_LEVELS)
    starts = levels * size + np.minimum(levels, rest)
    counts = np.diff(starts, append=len(values))
    at, means = (np.add.reduceat(each[order], starts, dtype=float) / counts for each in (values, targets))
    return np.interp(values, at, means).astype(np.float32)


def _inside_at(inside: np.ndarray, positions: np.ndarray) -> np.ndarray:
    nearest = np.rint(positions).astype(int)
    within = (nearest >= 0) & (nearest < len(inside))
    return within & inside[np.clip(nearest, 0, len(inside) - 1)]


def _correlation(first: np.ndarray, second: np.ndarray, shared: np.ndarray) -> float:
    """Correlation of two vectors (C,) beyond a constant and the shared rows (K, C)."""
    basis = np.concatenate([np.ones((1, shared.shape[1]), np.float32), shared])
    vectors = np.stack([first, second])
    weights = np.linalg.solve(basis @ basis.T + 1e-6 * np.eye(len(basis)), basis @ vectors.T)
    rest = vectors - weights.T @ basis
    return float(rest[0] @ rest[1] / max(np.prod(np.linalg.norm(rest, axis=1)), 1e-9))


def _gauss_newton(fixed: np.ndarray, warped: np.ndarray, mask: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Change of scale (3,) and shift (3,), in half descriptors, that fits `warped` to gain * `fixed` + offset."""
    slopes = [slope[mask] / (grid[1] - grid[0]) for slope in np.gradient(warped)]
    positions = [position[mask] for position in np.meshgrid(grid, grid, grid, indexing="ij")]
    ones = np.ones(mask.sum(), np.float32)
    columns = (
        [slope * position for slope, position in zip(slopes, positions, strict=True)] + slopes + [fixed[mask], ones]
    )
    design = np.stack(columns, axis=1)
    normal = design.T @ design
    damping = 1e-2 * np.diag(np.diag(normal)) + 1e-9 * np.eye(len(normal))
    # warped + slopes * change = gain * fixed + offset; the last two unknowns are -gain and -offset.
    solution = np.linalg.solve(normal + damping, design.T @ -warped[mask])
    return np.clip(solution[:6], -STEP_LIMIT, STEP_LIMIT)
