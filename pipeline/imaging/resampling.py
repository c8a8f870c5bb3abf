"""Resample from any grid to any other in one pass: linear interpolation, with a low-pass where voxels become larger.

Elementwise numpy only, in a fixed order, so that the bits do not depend on threads or on the machine's BLAS.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.imaging.geometry import Affine, Grid, index_map

Volume = NDArray[np.float32]


def resample(array: NDArray, affine: Affine, target: Grid, fill: float = 0.0) -> Volume:
    """Values of `array` on the target grid, C-contiguous float32; `fill` where the target extends beyond the scan.

    A voxel belongs to the scan up to its own edge, half a step beyond its center.
    """
    matrix = index_map(affine, target)
    if is_separable(matrix):
        return resample_axes(array, matrix, target.shape, fill)
    return resample_oblique(array, matrix, target.shape, fill)


def to_original_grid(
    array: Volume, prepared_affine: Affine, original_shape: tuple[int, int, int], original_affine: Affine
) -> Volume:
    """Resample an array of network space, such as an attribution map, to the grid of its scan; 0 outside."""
    return resample(array, prepared_affine, Grid(original_shape, original_affine))


def is_separable(matrix: Affine) -> bool:
    """Whether each source index depends on a single target index."""
    used = matrix[:3, :3] != 0
    return bool((used.sum(0) == 1).all() and (used.sum(1) == 1).all())


# --- axis by axis -----------------------------------------------------------------------------------------------------


def resample_axes(array: NDArray, matrix: Affine, shape: tuple[int, int, int], fill: float) -> Volume:
    """View the source along the target's axes, then interpolate along one axis after another."""
    source_axis = [int(axis) for axis in np.argmax(matrix[:3, :3] != 0, axis=0)]
    array = array.transpose(source_axis)
    taps, inside = [], []
    for axis, source in enumerate(source_axis):
        step, offset = matrix[source, axis], matrix[source, 3]
        if step < 0:
            array = np.flip(array, axis)
            step, offset = -step, array.shape[axis] - 1 - offset
        positions = step * np.arange(shape[axis]) + offset
        inside.append(positions_inside(positions, array.shape[axis]))
        taps.append(triangle_kernel(positions[inside[-1]], max(1.0, step), array.shape[axis]))
    result = np.full(shape, fill, np.float32)
    if all(len(rows) for rows, _ in taps):
        result[tuple(inside)] = sum_axes(array, taps)
    return result


def positions_inside(positions: NDArray[np.float64], size: int) -> slice:
    """The range of increasing positions that are within an axis of `size` voxels."""
    first, last = np.searchsorted(positions, [-0.5, size - 0.5])
    return slice(int(first), int(last))


def triangle_kernel(positions: NDArray[np.float64], width: float, size: int) -> tuple[NDArray[np.int64], Volume]:
    """Source indices and weights, both (positions, taps), of a triangle that extends `width` voxels to either side.

    Width 1 is linear interpolation; the step of an axis that gets coarser makes it a low-pass. At the border only
    existing voxels count.
    """
    first = np.ceil(positions - width).astype(np.int64)
    indices = first[:, None] + np.arange(int(2 * width) + 1)
    weights = np.clip(1 - np.abs(indices - positions[:, None]) / width, 0, None)
    weights[(indices < 0) | (indices >= size)] = 0
    # Just outside the outermost center all weights may be 0: the border voxel is used then.
    weights[weights.sum(1) == 0, 0] = 1
    return np.clip(indices, 0, size - 1), (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def sum_axes(array: NDArray, taps: list[tuple[NDArray[np.int64], Volume]]) -> Volume:
    """Weighted sums along each axis, that of the largest stride first, so that rows stay contiguous."""
    needed = tuple(slice(indices.min(), indices.max() + 1) for indices, _ in taps)
    by_stride = sorted(range(3), key=lambda axis: -abs(array.strides[axis]))
    array = array[needed].transpose(by_stride)
    for position, axis in enumerate(by_stride):
        indices, weights = taps[axis]
        array = weighted_sums(array, position, indices - needed[axis].start, weights)
    return array.transpose(np.argsort(by_stride))


def weighted_sums(array: NDArray, axis: int, indices: NDArray[np.int64], weights: Volume) -> Volume:
    """Weighted sums, in float32 of any number type, of the slices `indices` (rows, taps) along one axis."""
    # Slices across the innermost axis touch every cache line, so move it outermost first.
    slices = np.ascontiguousarray(np.moveaxis(array, 2, 0)) if axis == 2 else np.moveaxis(array, axis, 0)
    result = np.empty((len(indices), *slices.shape[1:]), np.float32)
    term = np.empty(slices.shape[1:], np.float32)
    for row, sources, shares in zip(result, indices.tolist(), weights, strict=True):
        used = [(source, share) for source, share in zip(sources, shares, strict=True) if share]
        # Converted slice by slice: a float copy of the whole scan would not fit into the processor's cache.
        np.multiply(slices[used[0][0]], used[0][1], out=row, dtype=np.float32)
        for source, share in used[1:]:
            np.multiply(slices[source], share, out=term, dtype=np.float32)
            row += term
    return np.moveaxis(result, 0, axis)


# --- at any angle -----------------------------------------------------------------------------------------------------


def resample_oblique(array: NDArray, matrix: Affine, shape: tuple[int, int, int], fill: float) -> Volume:
    """Low-pass along the source's axes, then trilinear interpolation at rotated or sheared positions."""
    region = source_region(array.shape, matrix, shape)
    if any(part.start >= part.stop for part in region):
        return np.full(shape, fill, np.float32)
    offset = matrix[:3, 3] - [part.start for part in region]
    source = ndimage.gaussian_filter(
        array[region].astype(np.float32), low_pass_sigma(matrix), mode="nearest", truncate=3
    )
    result = ndimage.affine_transform(source, matrix[:3, :3], offset, shape, order=1, mode="nearest", prefilter=False)
    result[is_outside(array.shape, matrix, shape)] = fill
    return result


def low_pass_sigma(matrix: Affine) -> NDArray[np.float64]:
    """Standard deviation in source voxels that widens the interpolation's triangle to the target's step.

    A triangle of half-width w has variance w^2 / 6, and interpolation itself has w = 1.
    """
    step = np.linalg.norm(matrix[:3, :3], axis=1)
    return np.sqrt(np.clip(step**2 - 1, 0, None) / 6)


def source_region(source_shape: tuple[int, ...], matrix: Affine, shape: tuple[int, int, int]) -> tuple[slice, ...]:
    """The part of the source that the target covers, with a margin for the low-pass."""
    last = np.array(shape) - 1
    corners = np.array(np.meshgrid(*[(0, edge) for edge in last], indexing="ij")).reshape(3, -1)
    reach = matrix[:3, :3] @ corners + matrix[:3, 3:]
    margin = np.ceil(3 * low_pass_sigma(matrix)) + 1
    low = np.clip(np.floor(reach.min(1) - margin), 0, source_shape).astype(int)
    high = np.clip(np.ceil(reach.max(1) + margin) + 1, 0, source_shape).astype(int)
    return tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))


def is_outside(source_shape: tuple[int, ...], matrix: Affine, shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Which target voxels have their center beyond the scan's edge."""
    axes = np.ogrid[tuple(slice(size) for size in shape)]
    outside = np.zeros(shape, bool)
    for row, size in zip(matrix[:3], source_shape, strict=True):
        position = sum(step * axis for step, axis in zip(row[:3], axes, strict=True)) + row[3]
        outside |= (position < -0.5) | (position >= size - 0.5)
    return outside
