"""Turns: the 48 ways in which the axes of a volume can be swapped and mirrored.

Left-right mirroring is the likely one; the others come from files whose affine was lost on the way.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Turn:
    """Take the axes in the order `axes`, then mirror along `mirrored`."""

    axes: tuple[int, int, int]
    mirrored: tuple[int, ...]

    def volume(self, array: np.ndarray) -> np.ndarray:
        """An array whose last three axes are turned."""
        lead = array.ndim - 3
        order = [*range(lead), *(lead + axis for axis in self.axes)]
        return np.flip(array.transpose(order), [lead + axis for axis in self.mirrored])

    def lines(self, lines: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What stands along each of three axes, turned in the same way."""
        return [lines[axis][:: -1 if place in self.mirrored else 1] for place, axis in enumerate(self.axes)]


TURNS = [
    Turn(axes, mirrored)
    for axes in itertools.permutations(range(3))
    for number in range(4)
    for mirrored in itertools.combinations(range(3), number)
]
AS_IS = TURNS[0]
