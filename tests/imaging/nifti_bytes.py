"""NIfTI files byte by byte from the standard's table of offsets, independent of any reader."""

import struct

import numpy as np

NIFTI1 = {
    "sizeof_hdr": (0, "i"), "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
    "vox_offset": (108, "f"), "scl_slope": (112, "f"), "scl_inter": (116, "f"), "xyzt_units": (123, "b"),
    "qform_code": (252, "h"), "sform_code": (254, "h"), "quatern": (256, "3f"), "qoffset": (268, "3f"),
    "srow_x": (280, "4f"), "srow_y": (296, "4f"), "srow_z": (312, "4f"), "magic": (344, "4s"),
}  # fmt: skip
"""Offset and struct format of each field, from nifti1.h."""

NIFTI2 = {
    "sizeof_hdr": (0, "i"), "magic": (4, "8s"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q"),
    "pixdim": (104, "8d"), "vox_offset": (168, "q"), "scl_slope": (176, "d"), "scl_inter": (184, "d"),
    "qform_code": (344, "i"), "sform_code": (348, "i"), "quatern": (352, "3d"), "qoffset": (376, "3d"),
    "srow_x": (400, "4d"), "srow_y": (432, "4d"), "srow_z": (464, "4d"), "xyzt_units": (500, "i"),
}  # fmt: skip
"""The same from nifti2.h."""

CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
VOXELS = np.random.default_rng(0).integers(-900, 900, (7, 6, 5)).astype("i2")


def nifti(voxels=VOXELS, *, order="<", version=1, between=b"\0\0\0\0", **fields) -> bytes:
    """A sound single file of 2 mm voxels with an sform; `fields` replace header fields by their standard name."""
    layout = NIFTI1 if version == 1 else NIFTI2
    size = 348 if version == 1 else 540
    kind = voxels.dtype.str[1:]
    values = {
        "sizeof_hdr": size,
        "dim": [voxels.ndim, *voxels.shape] + [1] * (7 - voxels.ndim),
        "datatype": CODES.get(kind, 0),
        "bitpix": 8 * voxels.dtype.itemsize,
        "pixdim": [1, 2, 2, 2, 0, 0, 0, 0],
        "vox_offset": size + len(between),
        "scl_slope": 1,
        "scl_inter": 0,
        "xyzt_units": 2,
        "sform_code": 1,
        "srow_x": [2, 0, 0, -10],
        "srow_y": [0, 2, 0, -20],
        "srow_z": [0, 0, 2, -30],
        "magic": b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n",
    } | fields
    header = bytearray(size)
    for name, value in values.items():
        offset, form = layout[name]
        struct.pack_into(order + form, header, offset, *(value if isinstance(value, list | tuple) else [value]))
    return bytes(header) + between + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes(order="F")
