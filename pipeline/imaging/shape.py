"""Measures of the shape of a mask, in millimeters, named so that a reader understands which of them decides.

Axes: D H W depth height width; the third axis of a point is W.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

QUANTILES = (10, 25, 50, 75, 90)
DEPTHS_MM = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Depths under the surface whose shares of the volume are given."""
PROFILE_POINTS = 8
AXES = ("depth", "height", "width")
EDGE_VOXELS = 0.7
"""Standard deviation with which the staircase of voxels is smoothed before its surface is measured."""
SMOOTHING_VOXELS = 1.5
"""Standard deviation with which a mask is smoothed before its curvature is measured."""
ROOM = 3
"""Empty voxels around the box of a mask."""
INSIDE = 0.5
"""Occupancy from which a voxel belongs to the mask."""
Measures = dict[str, float]


def measure_shape(occupancy: NDArray[np.floating], spacing_mm: Sequence[float]) -> tuple[Measures, ...]:
    """Measures of a mask (D, H, W) with values from 0 to 1, in four groups: size and place, thickness, axes, surface.

    An empty mask has every measure 0.
    """
    inside = np.asarray(occupancy) >= INSIDE
    if not inside.any():
        return tuple(dict.fromkeys(group, 0.0) for group in shape_measure_names())
    spacing = np.asarray(spacing_mm, float)
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    # Room around the mask for its surface, the distance to it and the smoothing.
    mask, values = np.pad(inside[box], ROOM), np.pad(np.asarray(occupancy, float)[box], ROOM)
    points = np.argwhere(inside) * spacing
    depth = ndimage.distance_transform_edt(mask, spacing)
    return (
        size_measures(mask, points, spacing) | place_measures(points, np.array(inside.shape) * spacing),
        depth_measures(depth[mask]) | skeleton_measures(mask, depth, spacing),
        moment_measures(points),
        profile_measures(mask, spacing) | curvature_measures(values, mask, spacing),
    )


@cache
def shape_measure_names() -> tuple[tuple[str, ...], ...]:
    """The names of each group in their order: those of a small ball."""
    ball = np.linalg.norm(np.indices((9, 9, 9)) - 4, axis=0) < 3
    return tuple(tuple(group) for group in measure_shape(ball.astype(float), (1.0, 1.0, 1.0)))


def size_measures(mask: NDArray[np.bool_], points: NDArray, spacing: NDArray) -> Measures:
    """Volume, surface, and how they compare with a ball, the box and the convex hull."""
    from skimage.measure import euler_number, label, marching_cubes, mesh_surface_area  # only networks of shape need it

    volume = mask.sum() * spacing.prod()
    smooth = ndimage.gaussian_filter(mask.astype(float), EDGE_VOXELS)
    # Of a voxel or two, smoothing leaves no value of one half.
    vertices, faces, _, _ = marching_cubes(smooth, min(INSIDE, smooth.max() / 2), spacing=tuple(spacing))
    surface = mesh_surface_area(vertices, faces)
    extent = np.ptp(points, axis=0) + spacing
    components, count = label(mask, return_num=True)
    largest = np.bincount(components.ravel())[1:].max() / mask.sum()
    return {
        "volume_ml": volume / 1000,
        "surface_cm2": surface / 100,
        "sphericity": np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / surface,
        "surface_to_volume_per_mm": surface / volume,
        "solidity": volume / max(hull_volume(vertices), volume),
        "box_share": volume / extent.prod(),
        **{f"extent_{name}_mm": value for name, value in zip(AXES, extent, strict=True)},
        "components": count,
        "largest_component_share": largest,
        "euler_number": euler_number(mask, connectivity=3),
    }


def hull_volume(vertices: NDArray) -> float:
    """Volume of the convex hull of (N, 3); 0 where the points span none."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        return float(ConvexHull(vertices).volume)
    except QhullError:
        return 0.0


def depth_measures(depth: NDArray) -> Measures:
    """How deep voxels lie under the surface, in mm: (N,) distances of those inside."""
    shares = {f"share_deeper_than_{mm:g}mm": (depth > mm).mean() for mm in DEPTHS_MM}
    quantiles = dict(zip(QUANTILES, np.percentile(depth, QUANTILES), strict=True))
    return {
        "depth_mean_mm": depth.mean(),
        "depth_sd_mm": depth.std(),
        "depth_max_mm": depth.max(),
        **{f"depth_p{share}_mm": value for share, value in quantiles.items()},
        **shares,
    }


def skeleton_measures(mask: NDArray[np.bool_], depth: NDArray, spacing: NDArray) -> Measures:
    """Thickness along the medial axis, in mm, and how long and branched that axis is."""
    from skimage.morphology import skeletonize

    skeleton = skeletonize(mask)
    if not skeleton.any():
        skeleton = depth == depth.max()
    thickness = 2 * depth[skeleton]
    neighbors = (ndimage.convolve(skeleton.astype(np.uint8), np.ones((3, 3, 3), np.uint8), mode="constant") - 1)[
        skeleton
    ]
    length = skeleton.sum() * spacing.mean()
    return {
        "thickness_mean_mm": thickness.mean(),
        "thickness_sd_mm": thickness.std(),
        "thickness_max_mm": thickness.max(),
        **{
            f"thickness_p{q}_mm": value for q, value in zip(QUANTILES, np.percentile(thickness, QUANTILES), strict=True)
        },
        "skeleton_length_mm": length,
        "skeleton_ends": (neighbors == 1).sum(),
        "skeleton_branchings": (neighbors > 2).sum(),
        "volume_per_length_mm2": mask.sum() * spacing.prod() / length,
    }


def moment_measures(points: NDArray) -> Measures:
    """Lengths and directions of the principal axes, and the spread, skew and tails along them."""
    centered = points - points.mean(axis=0)
    if len(points) < 4:
        centered = np.concatenate([centered, np.eye(3), -np.eye(3)])
    variances, directions = np.linalg.eigh(np.cov(centered.T) + 1e-9 * np.eye(3))
    lengths = 4 * np.sqrt(np.maximum(variances[::-1], 1e-9))
    along = centered @ directions[:, ::-1] / (lengths / 4)
    radius = np.linalg.norm(centered, axis=1)
    radius_scale = radius.mean() or 1.0
    found = {
        "elongation": lengths[1] / lengths[0],
        "flatness": lengths[2] / lengths[0],
        "radius_mean_mm": radius.mean(),
        **{
            f"radius_p{q}_relative": value / radius_scale
            for q, value in zip(QUANTILES, np.percentile(radius, QUANTILES), strict=True)
        },
        "radius_max_relative": radius.max() / radius_scale,
    }
    for index, name in enumerate(("long", "middle", "short")):
        found[f"axis_{name}_mm"] = lengths[index]
        # An axis has no sign, and neither has its skew.
        found[f"axis_{name}_skew"] = abs((along[:, index] ** 3).mean())
        found[f"axis_{name}_tails"] = (along[:, index] ** 4).mean()
        for axis, share in zip(AXES, np.abs(directions[:, 2 - index]), strict=True):
            found[f"axis_{name}_along_{axis}"] = share
    return found


def profile_measures(mask: NDArray[np.bool_], spacing: NDArray) -> Measures:
    """Area of the cross-sections from one end of the mask to the other, along each axis of the volume, in cm2."""
    found: Measures = {}
    for axis, name in enumerate(AXES):
        others = tuple(other for other in range(3) if other != axis)
        area = mask.sum(axis=others) * spacing[list(others)].prod() / 100
        occupied = np.flatnonzero(area)
        ends = np.linspace(occupied[0], occupied[-1], PROFILE_POINTS)
        found |= {
            f"area_{name}_{step + 1}of{PROFILE_POINTS}_cm2": value
            for step, value in enumerate(np.interp(ends, np.arange(len(area)), area))
        }
        found[f"area_{name}_roughness"] = np.abs(np.diff(area)).sum() / max(area.max(), 1e-9)
    return found


def curvature_measures(values: NDArray, mask: NDArray[np.bool_], spacing: NDArray) -> Measures:
    """Mean curvature of the smoothed surface, in 1/mm: positive where it bulges, negative in a furrow."""
    smooth = ndimage.gaussian_filter(values, SMOOTHING_VOXELS)
    slopes = np.gradient(smooth, *spacing)
    steepness = np.sqrt(sum(slope**2 for slope in slopes)) + 1e-6
    curvature = -sum(np.gradient(slope / steepness, spacing[axis], axis=axis) for axis, slope in enumerate(slopes)) / 2
    surface = mask & ~ndimage.binary_erosion(mask)
    found = curvature[surface]
    return {
        "curvature_mean_per_mm": found.mean(),
        "curvature_sd_per_mm": found.std(),
        **{
            f"curvature_p{q}_per_mm": value for q, value in zip(QUANTILES, np.percentile(found, QUANTILES), strict=True)
        },
        "furrowed_share": (found < 0).mean(),
    }


def place_measures(points: NDArray, extent: NDArray) -> Measures:
    """Where the mask lies from the middle of the volume, in mm."""
    offset = points.mean(axis=0) - extent / 2
    return {f"offset_{name}_mm": value for name, value in zip(AXES, offset, strict=True)}
