"""A file for every row of bad, doubtful and unusual input that checking must tell apart."""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from tests.imaging.nifti_bytes import VOXELS, nifti

FLOATS = VOXELS.astype("f4")
QFORM = {"sform_code": 0, "qform_code": 1}
NO_FORM = {"sform_code": 0, "qform_code": 0}


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def flipped(content: bytes, offset: int) -> bytes:
    changed = bytearray(content)
    changed[offset] ^= 0xFF
    return bytes(changed)


def with_voxel(value: float, dtype: str = "f4") -> np.ndarray:
    voxels = VOXELS.astype(dtype)
    voxels[1, 2, 3] = value
    return voxels


def damaged_deflate() -> bytes:
    """A stream whose second block has a type that does not exist."""
    packer = zlib.compressobj(wbits=-15)
    start = packer.compress(nifti()) + packer.flush(zlib.Z_SYNC_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + start + b"\xff" * 40


def bomb() -> bytes:
    """A few KiB that inflate to 64 MiB behind a small image."""
    return zipped(nifti() + bytes(64 << 20))


EXTENSION = b"\1\0\0\0" + struct.pack("<ii", 32, 6) + b"a comment".ljust(24, b"\0")
REJECTED = {
    "empty": ("NII-EMPTY", b""),
    "truncated.nii": ("NII-SHORT", nifti()[:-7]),
    "truncated.nii.gz": ("NII-TRUNCATED", zipped(nifti())[:-20]),
    "truncated_in_trailer.nii.gz": ("NII-TRUNCATED", zipped(nifti())[:-3]),
    "wrong_crc.nii.gz": ("NII-CRC", flipped(zipped(nifti()), -8)),
    "wrong_length.nii.gz": ("NII-CRC", flipped(zipped(nifti()), -4)),
    "damaged.nii.gz": ("NII-DEFLATE", damaged_deflate()),
    "text.nii.gz": ("NII-TEXT", b"this is not a scan\n" * 40),
    "page.nii.gz": ("NII-TEXT", b"<!DOCTYPE html><html><title>404</title></html>"),
    "pointer.nii.gz": ("NII-LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
    "twice.nii.gz": ("NII-GZIP-TWICE", zipped(zipped(nifti()))),
    "header_only.nii": ("NII-HEADER-ONLY", nifti()[:352]),
    "header_only_without_flag.nii": ("NII-HEADER-ONLY", nifti()[:348]),
    "header_only.nii.gz": ("NII-HEADER-ONLY", zipped(nifti()[:352])),
    "half_header.nii": ("NII-HEADER", nifti()[:200]),
    "bad_magic.nii": ("NII-MAGIC", nifti(magic=b"nix\0")),
    "no_magic.nii": ("NII-MAGIC", nifti(magic=bytes(4))),
    "pair_magic.nii": ("NII-MAGIC", nifti(magic=b"ni1\0")),
    "bad_magic_2.nii": ("NII-MAGIC", nifti(version=2, magic=b"n+2\0\n\n\x1a\n")),
    "unknown_dtype.nii": ("NII-DTYPE", nifti(datatype=0)),
    "binary_dtype.nii": ("NII-DTYPE", nifti(datatype=1)),
    "strange_dtype.nii": ("NII-DTYPE", nifti(datatype=4242)),
    "float128.nii": ("NII-DTYPE", nifti(datatype=1536)),
    "rgb.nii": ("NII-RGB", nifti(datatype=128)),
    "rgba.nii": ("NII-RGB", nifti(datatype=2304)),
    "complex64.nii": ("NII-COMPLEX", nifti(datatype=32)),
    "complex128.nii": ("NII-COMPLEX", nifti(datatype=1792)),
    "no_axes.nii": ("NII-NDIM", nifti(dim=[0, 7, 6, 5, 1, 1, 1, 1])),
    "eight_axes.nii": ("NII-NDIM", nifti(dim=[8, 7, 6, 5, 1, 1, 1, 1])),
    "zero_axis.nii": ("NII-DIMS", nifti(dim=[3, 7, 0, 5, 1, 1, 1, 1])),
    "negative_axis.nii": ("NII-DIMS", nifti(dim=[3, 7, -6, 5, 1, 1, 1, 1])),
    "more_voxels.nii": ("NII-SHORT", nifti(dim=[3, 7, 6, 50, 1, 1, 1, 1])),
    "many_more_voxels.nii.gz": ("NII-SHORT", zipped(nifti(dim=[3, 1000, 1000, 1000, 1, 1, 1, 1]))),
    "more_voxels.nii.gz": ("NII-SHORT", zipped(nifti(dim=[3, 7, 6, 6, 1, 1, 1, 1]))),
    "huge.nii.gz": ("NII-HUGE", zipped(nifti(dim=[3, 30000, 30000, 30000, 1, 1, 1, 1]))),
    "huge_2.nii.gz": ("NII-HUGE", zipped(nifti(version=2, dim=[3, 1 << 40, 1 << 40, 1 << 40, 1, 1, 1, 1]))),
    "bomb.nii.gz": ("NII-BOMB", bomb()),
    "empty_members.nii.gz": ("NII-BOMB", zipped(nifti()) + zipped(b"") * 2000),
    "offset_in_header.nii": ("NII-OFFSET", nifti(vox_offset=100)),
    "offset_zero.nii": ("NII-OFFSET", nifti(vox_offset=0)),
    "offset_in_header_2.nii": ("NII-OFFSET", nifti(version=2, vox_offset=352)),
    "offset_beyond.nii": ("NII-OFFSET", nifti(vox_offset=1e6)),
    "offset_beyond.nii.gz": ("NII-OFFSET", zipped(nifti(vox_offset=100_000))),
    "offset_nan.nii": ("NII-OFFSET", nifti(vox_offset=math.nan)),
    "offset_infinite.nii": ("NII-OFFSET", nifti(vox_offset=math.inf)),
    "extension_too_small.nii": ("NII-EXTENSION", nifti(between=b"\1\0\0\0" + struct.pack("<ii", 8, 4) + bytes(8))),
    "extension_odd.nii": ("NII-EXTENSION", nifti(between=b"\1\0\0\0" + struct.pack("<ii", 24, 4) + bytes(16))),
    "extension_negative.nii": ("NII-EXTENSION", nifti(between=b"\1\0\0\0" + struct.pack("<ii", -16, 4) + bytes(8))),
    "extension_huge.nii": ("NII-EXTENSION", nifti(between=b"\1\0\0\0" + struct.pack("<ii", 1 << 30, 4) + bytes(8))),
    "extension_beyond.nii": ("NII-EXTENSION", nifti(between=EXTENSION, vox_offset=352 + 16)),
    "extension_without_room.nii": ("NII-EXTENSION", nifti(between=EXTENSION, vox_offset=352)),
    "extension_without_room.nii.gz": ("NII-EXTENSION", zipped(nifti(between=EXTENSION, vox_offset=352))),
    "extension_without_room_2.nii": ("NII-EXTENSION", nifti(version=2, between=EXTENSION, vox_offset=544)),
    "singular.nii": ("NII-AFFINE", nifti(srow_z=[0, 2, 0, -30])),
    "parallel_axes.nii": ("NII-AFFINE", nifti(srow_x=[2, 2, 0, 0], srow_y=[0] * 4)),
    "zero_affine.nii": ("NII-AFFINE", nifti(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4)),
    "nan_affine.nii": ("NII-AFFINE", nifti(srow_x=[math.nan, 0, 0, 0])),
    "infinite_offset.nii": ("NII-AFFINE", nifti(srow_x=[2, 0, 0, math.inf])),
    "zero_spacing.nii": ("NII-SPACING", nifti(**NO_FORM, pixdim=[1, 2, 0, 2, 0, 0, 0, 0])),
    "nan_spacing.nii": ("NII-SPACING", nifti(**QFORM, pixdim=[1, 2, math.nan, 2, 0, 0, 0, 0])),
    "negative_spacing.nii": ("NII-SPACING", nifti(**QFORM, pixdim=[1, 2, -2, 2, 0, 0, 0, 0])),
    "quaternion.nii": ("NII-QUATERNION", nifti(**QFORM, quatern=[0.9, 0.9, 0.9])),
    "quaternion_nan.nii": ("NII-QUATERNION", nifti(**QFORM, quatern=[math.nan, 0, 0])),
    "quaternion_beside_sform.nii": ("NII-QUATERNION", nifti(qform_code=1, quatern=[2, 0, 0])),
    "nan_voxel.nii": ("NII-NONFINITE", nifti(with_voxel(math.nan))),
    "infinite_voxel.nii": ("NII-NONFINITE", nifti(with_voxel(-math.inf, "f8"))),
    "overflow.nii": ("NII-OVERFLOW", nifti(scl_slope=1e38)),
    "overflow_unscaled.nii": ("NII-OVERFLOW", nifti(with_voxel(1e300, "f8"))),
    "one_axis.nii": ("NII-FLAT", nifti(VOXELS[:, 0, 0])),
    "two_axes.nii": ("NII-FLAT", nifti(VOXELS[:, :, 0])),
    "one_slice.nii": ("NII-FLAT", nifti(VOXELS[:, :, :1])),
    "one_voxel.nii": ("NII-FLAT", nifti(VOXELS[:1, :1, :1])),
    "four_axes.nii": ("NII-4D", nifti(np.stack([VOXELS] * 4, -1))),
    "five_axes.nii": ("NII-5D", nifti(np.stack([VOXELS] * 2, -1)[:, :, :, None])),
    "spacing_small.nii": ("NII-SPACING-RANGE", nifti(srow_x=[0.01, 0, 0, 0])),
    "spacing_large.nii": ("NII-SPACING-RANGE", nifti(srow_x=[60, 0, 0, 0])),
    "header_alone.hdr": ("NII-PAIR", nifti(magic=b"ni1\0", vox_offset=0)[:348]),
    "image_alone.img": ("NII-PAIR", nifti()[352:]),
}  # fmt: skip
"""File name: the code it is rejected with, and its bytes."""

SHEAR = {"srow_x": [2, 0.5, 0, -10], "pixdim": [1, 2, math.hypot(2, 0.5), 2, 0, 0, 0, 0]}
LONG = {"srow_z": [0, 0, 30, -30], "pixdim": [1, 2, 2, 30, 0, 0, 0, 0]}
MICRON = {
    "xyzt_units": 3, "pixdim": [1, 2000, 2000, 2000, 0, 0, 0, 0], "srow_x": [2000, 0, 0, -10000],
    "srow_y": [0, 2000, 0, -20000], "srow_z": [0, 0, 2000, -30000],
}  # fmt: skip

WARNED = {
    "plain_named_gz.nii.gz": ("NII-SUFFIX", nifti(), VOXELS),
    "gz_named_plain.nii": ("NII-SUFFIX", zipped(nifti()), VOXELS),
    "trailing.nii.gz": ("NII-TRAILING", zipped(nifti()) + b"trailing", VOXELS),
    "trailing_zeros.nii.gz": ("NII-TRAILING", zipped(nifti()) + bytes(512), VOXELS),
    "extra.nii": ("NII-EXTRA", nifti() + b"extra", VOXELS),
    "extra.nii.gz": ("NII-EXTRA", zipped(nifti() + b"extra"), VOXELS),
    "sizeof.nii": ("NII-SIZEOF", nifti(sizeof_hdr=1), VOXELS),
    "sizeof_big.nii": ("NII-SIZEOF", nifti(order=">", sizeof_hdr=1), VOXELS),
    "bitpix.nii": ("NII-BITPIX", nifti(bitpix=8), VOXELS),
    "slope_nan.nii": ("NII-SLOPE", nifti(scl_slope=math.nan), VOXELS),
    "slope_infinite.nii": ("NII-SLOPE", nifti(scl_slope=math.inf), VOXELS),
    "inter_nan.nii": ("NII-SLOPE", nifti(scl_slope=2, scl_inter=math.nan), VOXELS),
    "pixdim.nii": ("NII-PIXDIM", nifti(pixdim=[1, 1, 1, 1, 0, 0, 0, 0]), VOXELS),
    "pixdim_zero.nii": ("NII-PIXDIM", nifti(pixdim=[0] * 8), VOXELS),
    "forms.nii": ("NII-FORMS", nifti(qform_code=1, qoffset=[50, 0, 0]), VOXELS),
    "shear.nii": ("NII-SHEAR", nifti(**SHEAR), VOXELS),
    "no_form.nii": ("NII-NO-TRANSFORM", nifti(**NO_FORM), VOXELS),
    "form_code.nii": ("NII-XFORM-CODE", nifti(sform_code=17), VOXELS),
    "constant.nii": ("NII-CONSTANT", nifti(np.full((4, 4, 4), 3, "i2")), np.full((4, 4, 4), 3)),
    "all_zero.nii": ("NII-CONSTANT", nifti(np.zeros((4, 4, 4), "f4")), np.zeros((4, 4, 4))),
    "int64.nii": ("NII-PRECISION", nifti(with_voxel(2**53 + 1, "i8")), with_voxel(2**53 + 1, "i8")),
    "micron.nii": ("NII-UNITS", nifti(**MICRON), VOXELS),
    "anisotropic.nii": ("NII-ANISOTROPIC", nifti(**LONG), VOXELS),
}  # fmt: skip
"""File name: the code it is warned about with, its bytes, and the values it must be read as."""

MEMBERS = zipped(nifti()[:400]) + zipped(nifti()[400:600]) + zipped(nifti()[600:])

ACCEPTED = {
    "big_endian.nii": (nifti(order=">"), VOXELS),
    "big_endian_floats.nii.gz": (zipped(nifti(FLOATS, order=">")), FLOATS),
    "nifti2.nii": (nifti(version=2), VOXELS),
    "nifti2_big_endian.nii.gz": (zipped(nifti(version=2, order=">")), VOXELS),
    "members.nii.gz": (MEMBERS, VOXELS),
    "empty_member.nii.gz": (zipped(nifti()) + zipped(b""), VOXELS),
    "slope_zero.nii": (nifti(scl_slope=0, scl_inter=7), VOXELS),
    "scaled.nii": (nifti(scl_slope=0.5, scl_inter=-3), VOXELS * 0.5 - 3),
    "left_handed.nii": (nifti(srow_x=[-2, 0, 0, 2]), VOXELS),
    "trailing_axis.nii": (nifti(VOXELS[..., None]), VOXELS),
    "extension.nii": (nifti(between=EXTENSION), VOXELS),
    "extension_announced_only.nii": (nifti(between=b"\1\0\0\0"), VOXELS),
    "UPPER.NII.GZ": (zipped(nifti()), VOXELS),
    "with spaces and ünïcödé ☃.nii.gz": (zipped(nifti()), VOXELS),
}
"""File name: its bytes, and the values it must be read as, without a word."""


def write_empty_folder(folder: Path) -> Path:
    path = folder / "folder.nii.gz"
    path.mkdir()
    return path


def write_broken_link(folder: Path) -> Path:
    path = folder / "link.nii.gz"
    path.symlink_to(folder / "nowhere.nii.gz")
    return path


def write_pipe(folder: Path) -> Path:
    path = folder / "pipe.nii"
    os.mkfifo(path)
    return path


NO_FILES = {
    "NII-DIRECTORY folder": write_empty_folder,
    "NII-LINK": write_broken_link,
    "NII-DIRECTORY pipe": write_pipe,
    "NII-MISSING": lambda folder: folder / "absent.nii.gz",
}
"""What is no file at all: its code, and how to make one."""
