"""Search for near-duplicate scans: screen by descriptors, confirm by fitted similarity."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.splits.near_duplicates.descriptors import AS_IS, CELLS, TURNS, Signatures, Turn, box, sample

INNER = slice(CELLS // 6, CELLS - CELLS // 6)
"""The middle of the picture, two standard deviations each way, on which scans are compared."""
SCANS_A_COMPONENT, MOST_COMPONENTS = 10, 8
ALIKE = 0.7
"""Likeness beyond the mean picture from which scans count as one content here: a rough measure, before any fit."""
STEPS = 6
STEP_LIMIT = 0.15
"""Largest change of scale or place in one step, in half pictures."""
SCALE_LIMITS = (0.7, 1.4)
FEWEST_CELLS = 500
"""Cells that both scans must have in common for a likeness to mean anything."""
HOPELESS = 0.5
"""A pair less alike than this after two steps is not fitted further."""


@dataclass(frozen=True)
class Common:
    """What scans of a cohort share: the mean picture and main components as rows, (K, cells) in the inner picture."""

    rows: np.ndarray

    def remove(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures (N, cells) without it, as unit vectors."""
        rest = pictures - (pictures @ self.rows.T) @ self.rows
        return rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)


def common_of(signatures: Signatures) -> Common:
    """Mean and components of a cohort, orthonormal; one content in ten may have a component of its own.

    Scans that are alike count as one: else the content of many copies would be taken for what all have in common.
    """
    pictures = inner_pictures(signatures)
    shares = 1 / num_alike(pictures - pictures.mean(0))
    mean = np.average(pictures, axis=0, weights=shares)
    rest = (pictures - mean) * np.sqrt(shares)[:, None]
    number = min(MOST_COMPONENTS, round(shares.sum()) // SCANS_A_COMPONENT)
    values, vectors = np.linalg.eigh(rest @ rest.T)
    components = vectors[:, ::-1][:, :number].T @ rest
    basis = np.concatenate([mean[None], components])
    return Common(np.linalg.qr(basis.T)[0].T.astype(np.float32))


def num_alike(rest: np.ndarray) -> np.ndarray:
    """How many of the pictures (N, cells), themselves included, each is `ALIKE`, (N,)."""
    unit = rest / np.maximum(np.linalg.norm(rest, axis=1, keepdims=True), 1e-6)
    return np.maximum((unit @ unit.T >= ALIKE).sum(1), 1)


def inner_pictures(signatures: Signatures, turn: Turn = AS_IS) -> np.ndarray:
    """Inner pictures (N, cells), turned, each with mean 0 and standard deviation 1."""
    cells = turn.volume(signatures.cells)[:, INNER, INNER, INNER]
    pictures = cells.reshape(len(cells), -1)
    rest = pictures - pictures.mean(1, keepdims=True)
    return rest / np.maximum(rest.std(1, keepdims=True), 1e-6)


def fitted_likeness(signatures: Signatures, common: Common, first: int, second: int, turn: Turn) -> float:
    """Correlation, at most 1, of two scans after the second is turned, shifted and scaled to fit the first.

    Only cells inside both scans count.
    """
    fixed, fixed_mask = signatures.cells[first][INNER, INNER, INNER], box(signatures.inside[first][:, INNER])
    moving, inside = turn.volume(signatures.cells[second]), turn.lines(signatures.inside[second])
    lattice = np.linspace(-1, 1, CELLS)[INNER]
    scale, shift, best = np.ones(3), np.zeros(3), -1.0
    for step in range(STEPS):
        places = [
            (lattice * factor + offset + 1) * (CELLS - 1) / 2 for factor, offset in zip(scale, shift, strict=True)
        ]
        mask = fixed_mask & box([_inside_at(line, place) for line, place in zip(inside, places, strict=True)])
        if mask.sum() < FEWEST_CELLS:
            break
        warped = sample(moving, places)
        best = max(best, _correlation(fixed[mask], warped[mask], common.rows[:, mask.ravel()]))
        if step == 1 and best < HOPELESS:
            break
        change = _gauss_newton(fixed, warped, mask, lattice)
        scale = np.clip(scale + change[:3], *SCALE_LIMITS)
        shift = shift + change[3:]
    return best


def _inside_at(inside: np.ndarray, places: np.ndarray) -> np.ndarray:
    nearest = np.rint(places).astype(int)
    within = (nearest >= 0) & (nearest < len(inside))
    return within & inside[np.clip(nearest, 0, len(inside) - 1)]


def _correlation(first: np.ndarray, second: np.ndarray, common: np.ndarray) -> float:
    """Correlation of what two pictures have beyond a constant and the common rows."""
    basis = np.concatenate([np.ones((1, common.shape[1]), np.float32), common])
    pictures = np.stack([first, second])
    weights = np.linalg.solve(basis @ basis.T + 1e-6 * np.eye(len(basis)), basis @ pictures.T)
    rest = pictures - weights.T @ basis
    return float(rest[0] @ rest[1] / max(np.prod(np.linalg.norm(rest, axis=1)), 1e-9))


def _gauss_newton(fixed: np.ndarray, warped: np.ndarray, mask: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    """Change of scale (3) and shift (3), in half pictures, that brings `warped` nearer to gain * `fixed` + offset."""
    slopes = [slope[mask] / (lattice[1] - lattice[0]) for slope in np.gradient(warped)]
    where = [place[mask] for place in np.meshgrid(lattice, lattice, lattice, indexing="ij")]
    ones = np.ones(mask.sum(), np.float32)
    columns = [slope * place for slope, place in zip(slopes, where, strict=True)] + slopes + [fixed[mask], ones]
    design = np.stack(columns, axis=1)
    normal = design.T @ design
    damping = 1e-2 * np.diag(np.diag(normal)) + 1e-9 * np.eye(len(normal))
    # warped + slopes * change = gain * fixed + offset; the last two unknowns carry gain and offset with a minus sign.
    solution = np.linalg.solve(normal + damping, design.T @ -warped[mask])
    return np.clip(solution[:6], -STEP_LIMIT, STEP_LIMIT)


SCREEN = 0.2
"""Pairs less alike than this before they are fitted are dropped."""
PARTNERS = 4
"""Most alike scans of each scan that are fitted to it, of its own place in the split and as many of others."""
NEAR_DUPLICATE = 0.85
"""Fitted likeness from which two scans show one content: copies with tissue cropped away reach 0.92, the two
hippocampi of one person 0.74, different people 0.6."""
ROWS = 1024
"""Scans compared with all others at once."""


@dataclass(frozen=True)
class Pair:
    """Two scans by their numbers; `turn` brings the second onto the first."""

    first: int
    second: int
    turn: Turn
    screened: float
    """Likeness as the scans are, -1 to 1."""
    fitted: float = -1.0
    """Likeness after the best shift and scale."""


def near_duplicates(signatures: Signatures, groups: np.ndarray, places: np.ndarray) -> list[Pair]:
    """Pairs of scans of different `groups` (N,) that show the same content; `places` (N,) are those in the split."""
    if len(signatures.cells) < 2:
        return []
    common = common_of(signatures)
    fitted = [fit(signatures, common, pair) for pair in candidates(signatures, common, groups, places)]
    return [pair for pair in fitted if pair.fitted >= NEAR_DUPLICATE]


def fit(signatures: Signatures, common: Common, pair: Pair) -> Pair:
    likeness = fitted_likeness(signatures, common, pair.first, pair.second, pair.turn)
    return Pair(pair.first, pair.second, pair.turn, pair.screened, likeness)


def candidates(signatures: Signatures, common: Common, groups: np.ndarray, places: np.ndarray) -> Iterator[Pair]:
    """The pairs worth fitting, each once."""
    seen: set[frozenset[int]] = set()
    for start in range(0, len(groups), ROWS):
        rows = np.arange(start, min(start + ROWS, len(groups)))
        likeness, turn = screen(signatures, common, rows)
        likeness[groups[rows, None] == groups[None]] = -1
        together = places[rows, None] == places[None]
        # Apart, so that many copies in one place do not crowd out one that stands elsewhere.
        for row, second in (*most_alike(likeness, together), *most_alike(likeness, ~together)):
            first = start + row
            if frozenset((first, second)) not in seen:
                seen.add(frozenset((first, second)))
                yield Pair(first, second, TURNS[turn[row, second]], float(likeness[row, second]))


def most_alike(likeness: np.ndarray, among: np.ndarray) -> Iterator[tuple[int, int]]:
    """(row, column) of the partners of each row of `likeness` (rows, N) where `among` (rows, N) allows."""
    allowed = np.where(among, likeness, -1)
    columns = np.argsort(-allowed, axis=1, kind="stable")[:, :PARTNERS]
    rows, ranks = np.nonzero(np.take_along_axis(allowed, columns, axis=1) >= SCREEN)
    return zip(rows.tolist(), columns[rows, ranks].tolist(), strict=True)


def screen(signatures: Signatures, common: Common, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Likeness (rows, N) of some scans with all, at the best turn, and that turn's number."""
    own = common.remove(inner_pictures(signatures, AS_IS)[rows])
    best = np.full((len(rows), len(signatures.cells)), -1, np.float32)
    turn = np.zeros(best.shape, np.int8)
    for number, other in enumerate(TURNS):
        likeness = own @ common.remove(inner_pictures(signatures, other)).T
        turn[likeness > best] = number
        np.maximum(best, likeness, out=best)
    return best, turn
