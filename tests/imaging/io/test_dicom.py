import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from nibabel.quaternions import quat2mat
from pydicom.data import get_testdata_file
from pydicom.data.data_manager import DATA_ROOT
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    generate_uid,
)

from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.io.read import read_scan
from pipeline.imaging.validation import check_scan
from tests.imaging.dicom_making import transcode, write_slices
from tests.imaging.io.dicom_mutants import try_mutants

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4)).astype(np.int16)
"""(slices, rows, columns)."""


def write_series(folder: Path, *, rotation=(0.9, 0.1, -0.2, 0.3), step=(0, 0, 3), slope=1, inter=-1024, suffix=".dcm"):
    """A slice a file, named in another order than they lie; pixels of 0.8 by 0.6 mm."""
    frame = quat2mat(rotation)
    return write_slices(
        folder,
        VOXELS,
        axes=frame[:, :2].T,
        first_mm=(10, -20, 30),
        step_mm=frame @ step,
        pixel_mm=(0.8, 0.6),
        names=[f"{(index * 5) % 6}{suffix}" for index in range(6)],
        slope=slope,
        inter=inter,
    )


def edit(path: Path, **tags) -> None:
    slice_ = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(slice_, tag, value)
    slice_.save_as(path)


def file_of(index: int) -> str:
    return f"{(index * 5) % 6}.dcm"


def test_values_and_geometry_equal_simpleitks(tmp_path):
    folder = write_series(tmp_path / "series")
    scan = read_scan(folder)
    image = SimpleITK.ReadImage(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    np.testing.assert_array_equal(scan.array, SimpleITK.GetArrayFromImage(image).T)
    for index in ((0, 0, 0), (3, 0, 0), (0, 4, 0), (3, 4, 5)):
        there = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        np.testing.assert_allclose((scan.affine @ [*index, 1])[:3], there, atol=1e-4)
    assert scan.array.flags.f_contiguous and check_scan(folder).verdict == "ok"


def test_slices_without_a_suffix_are_found_by_their_content(tmp_path):
    folder = write_series(tmp_path / "series", suffix="")
    assert list(find_scans(tmp_path)) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


def test_slices_named_by_their_uid_are_found_and_a_mediums_index_is_none(tmp_path):
    folder = write_series(tmp_path / "series", suffix=".840.2")
    (folder / "notes.txt").write_text("not a slice")
    shutil.copy(next(folder.glob("*.2")), folder / "DICOMDIR")
    assert list(find_scans(tmp_path)) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)
    (tmp_path / "index").mkdir()
    shutil.copy(folder / "DICOMDIR", tmp_path / "index")
    assert list(find_scans(tmp_path)) == [folder]


def test_each_slices_own_scaling_is_used(tmp_path):
    folder = write_series(tmp_path / "series", inter=0)
    edit(folder / file_of(2), RescaleSlope=4)
    expected = VOXELS.astype(np.float32)
    expected[2] *= 4
    np.testing.assert_array_equal(read_scan(folder).array, expected.T)


def test_tilted_gantry_is_kept_with_a_warning(tmp_path):
    scan = read_scan(write_series(tmp_path / "series", rotation=(1, 0, 0, 0), step=(0, 1, 3)))
    assert [problem.code for problem in scan.warnings] == ["NII-SHEAR"]
    np.testing.assert_allclose(scan.affine[:3, 2], [0, -1, 3])


def move(folder: Path, index: int, distance: float) -> None:
    frame = quat2mat((0.9, 0.1, -0.2, 0.3))
    here = np.array(pydicom.dcmread(folder / file_of(index)).ImagePositionPatient, float)
    edit(folder / file_of(index), ImagePositionPatient=(here + frame[:, 2] * distance).round(6).tolist())


def spoil(path: Path, value: bytes, damaged: bytes) -> None:
    content = path.read_bytes()
    assert content.count(value) == 1
    path.write_bytes(content.replace(value, damaged))


def compress(path: Path, syntax: pydicom.uid.UID) -> None:
    """Pretend that the pixels are compressed."""
    slice_ = pydicom.dcmread(path)
    slice_.file_meta.TransferSyntaxUID, slice_.PixelData = syntax, encapsulate([bytes(64)])
    slice_.save_as(path)


def make_report(path: Path) -> None:
    slice_ = pydicom.dcmread(path)
    for tag in ("Rows", "Columns", "BitsAllocated", "PixelData"):
        del slice_[tag]
    slice_.save_as(path)


BROKEN = {
    "DCM-GAP": lambda folder: (folder / file_of(3)).unlink(),
    "DCM-UNEVEN": lambda folder: move(folder, 3, 1.0),
    "DCM-TWICE": lambda folder: move(folder, 3, -3.0),
    "DCM-GAP another series": lambda folder: edit(folder / file_of(3), SeriesInstanceUID=generate_uid()),
    "DCM-MIXED units": lambda folder: edit(folder / file_of(3), Modality="PT", Units="GML"),
    "DCM-MIXED spacing": lambda folder: edit(folder / file_of(3), PixelSpacing=[0.8, 0.7]),
    "DCM-MIXED direction": lambda folder: edit(folder / file_of(3), ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
    "DCM-TAG": lambda folder: edit(folder / file_of(3), ImagePositionPatient=None),
    "DCM-COLOR": lambda folder: edit(folder / file_of(3), SamplesPerPixel=3),
    "DCM-FRAMES": lambda folder: edit(folder / file_of(3), NumberOfFrames=6),
    "DCM-READ number": lambda folder: spoil(folder / file_of(3), b"0.8\\0.6", b"0.8\\x.6"),
    "DCM-RESCALE zero": lambda folder: edit(folder / file_of(3), RescaleSlope=0),
    "DCM-RESCALE empty": lambda folder: edit(folder / file_of(3), RescaleIntercept=None),
    "DCM-VALUES inverted": lambda folder: edit(folder / file_of(3), PhotometricInterpretation="MONOCHROME1"),
    "DCM-VALUES table": lambda folder: edit(folder / file_of(3), ModalityLUTSequence=[pydicom.Dataset()]),
    "DCM-VALUES bits": lambda folder: edit(folder / file_of(3), BitsStored=12, HighBit=14),
    "DCM-COLOR palette": lambda folder: edit(folder / file_of(3), PhotometricInterpretation="PALETTE COLOR"),
    "DCM-SUV": lambda folder: edit(folder / file_of(3), Modality="PT", Units="PROPCPS"),
    "DCM-SYNTAX": lambda folder: compress(folder / file_of(3), HTJ2KLossless),
    "DCM-READ compressed": lambda folder: compress(folder / file_of(3), JPEGLosslessSV1),
    "DCM-NO-IMAGE": lambda folder: [make_report(path) for path in folder.iterdir()],
    "DCM-READ text": lambda folder: (folder / file_of(3)).write_text("not DICOM"),
    "DCM-READ cut": lambda folder: (folder / file_of(3)).write_bytes((folder / file_of(3)).read_bytes()[:-9]),
    "NII-FLAT": lambda folder: [path.unlink() for path in folder.iterdir() if path.name != "0.dcm"],
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_but_an_even_stack_is_rejected(tmp_path, name):
    folder = write_series(tmp_path / "series")
    BROKEN[name](folder)
    check = check_scan(folder)
    assert (check.verdict, check.problems[-1].code) == ("reject", name.split()[0])


def test_single_slice_given_as_a_file_is_not_taken_for_nifti(tmp_path):
    folder = write_series(tmp_path / "series")
    assert check_scan(folder / "0.dcm").problems[-1].code == "DCM-FILE"


def codes_of(path: Path) -> list[str]:
    return [problem.code for problem in check_scan(path).problems]


def test_objects_without_an_image_beside_the_slices_are_skipped_with_a_warning(tmp_path):
    folder = write_series(tmp_path / "series")
    for name in ("test-SR.dcm", "rtstruct.dcm", "rtplan.dcm"):
        shutil.copy(get_testdata_file(name), folder)
    problems = check_scan(folder).problems
    assert [problem.code for problem in problems] == ["DCM-OTHER"] and problems[0].found == "3, such as rtplan.dcm"
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


def test_of_several_series_the_longest_is_read_and_each_is_named(tmp_path):
    folder = write_series(tmp_path / "series")
    for number, slices in ((7, 2), (9, 4)):
        uid = generate_uid()
        for index in range(slices):
            other = folder / f"other{number}_{index}.dcm"
            shutil.copy(folder / f"{index}.dcm", other)
            edit(other, SeriesInstanceUID=uid, SeriesNumber=number, SeriesDescription="scout", Rows=9)
    problems = check_scan(folder).problems
    assert [problem.code for problem in problems] == ["DCM-SERIES"]
    assert problems[0].found == "3: 6 of series 0; 4 of series 9 'scout'; 2 of series 7 'scout'"
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


def without_preamble(path: Path) -> bytes:
    meta = pydicom.filereader.read_file_meta_info(path)
    return path.read_bytes()[132 + 12 + meta.FileMetaInformationGroupLength :]


@pytest.mark.parametrize("suffix", ["", ".dcm"])
def test_files_without_a_preamble_are_found_and_read(tmp_path, suffix):
    folder = write_series(tmp_path / "series", suffix=suffix)
    for path in folder.iterdir():
        path.write_bytes(without_preamble(path))
    assert list(find_scans(tmp_path)) == [folder]
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


def test_overlays_do_not_change_values(tmp_path):
    folder = write_series(tmp_path / "series", inter=0)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        stored = slice_.pixel_array.astype(np.int64) & 0x0FFF
        # In the unused bits, as older scanners do, and as a plane of its own.
        slice_.BitsStored, slice_.HighBit, slice_.PixelRepresentation = 12, 11, 0
        slice_.PixelData = (
            (stored | 0x8000 * (np.arange(stored.size).reshape(stored.shape) % 2)).astype("<u2").tobytes()
        )
        slice_.add_new((0x6000, 0x0100), "US", 16)
        slice_.add_new((0x6000, 0x0102), "US", 15)
        slice_.add_new((0x6002, 0x3000), "OW", b"\xff" * 4)
        slice_.save_as(path)
    np.testing.assert_array_equal(read_scan(folder).array, (VOXELS.astype(np.int64) & 0x0FFF).T)


INJECTION = {"RadionuclideTotalDose": 370e6, "RadionuclideHalfLife": 6586.2, "RadiopharmaceuticalStartTime": "093000"}
PET = {"Modality": "PT", "Units": "BQML", "PatientWeight": 70, "DecayCorrection": "START", "CorrectedImage": "DECY"}
PET |= {"SeriesDate": "20240131", "SeriesTime": "103000", "AcquisitionTime": "103015.5"}


def make_pet(folder: Path, **changes) -> Path:
    """Activity in Bq/ml, 1 h after the injection, each slice with a slope of its own."""
    write_series(folder, inter=0)
    for index in range(6):
        tags = PET | INJECTION | changes
        dose = pydicom.Dataset()
        for tag in INJECTION:
            if tags[tag] is not None:
                setattr(dose, tag, tags[tag])
        own = {tag: tags[tag] for tag in PET}
        edit(folder / file_of(index), RescaleSlope=index + 1, RadiopharmaceuticalInformationSequence=[dose], **own)
    return folder


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 70_000 / (370e6 * 0.5 ** (3600 / 6586.2))),
        ({"SeriesTime": "003000", "AcquisitionTime": "003001", "RadiopharmaceuticalStartTime": "233000.00"},
         70_000 / (370e6 * 0.5 ** (3600 / 6586.2))),
        ({"DecayCorrection": "ADMIN", "RadiopharmaceuticalStartTime": None}, 70_000 / 370e6),
        ({"Units": "GML", "PatientWeight": None}, 1.0),
    ],
)  # fmt: skip
def test_pet_is_read_in_suv_by_body_weight(tmp_path, changes, factor):
    expected = VOXELS.astype(np.float64) * np.arange(1, 7)[:, None, None] * factor
    np.testing.assert_allclose(read_scan(make_pet(tmp_path / "pet", **changes)).array, expected.T, rtol=1e-5)


COUNTS = {"Units": "CNTS"}
TO_BQML = 70_000 / (370e6 * 0.5 ** (3600 / 6586.2))


@pytest.mark.parametrize("is_implicit", [False, True])
@pytest.mark.parametrize(
    ("suv", "bqml", "factor"),
    [
        ("0.0021", None, 0.0021),
        ("0.0021", "12.5", 0.0021),
        ("0", "12.5", 12.5 * TO_BQML),
        (None, "12.5", 12.5 * TO_BQML),
    ],
)
def test_counts_of_philips_are_read_in_suv_by_its_own_factors(tmp_path, is_implicit, suv, bqml, factor):
    folder = make_pet(tmp_path / "pet", **COUNTS)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        for tag, value in (((0x7053, 0x1000), suv), ((0x7053, 0x1009), bqml)):
            if value is not None:
                slice_.add_new(tag, "DS", value)
        if is_implicit:
            slice_.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        slice_.save_as(path, enforce_file_format=True)
    expected = VOXELS.astype(np.float64) * np.arange(1, 7)[:, None, None] * factor
    np.testing.assert_allclose(read_scan(folder).array, expected.T, rtol=1e-5)


@pytest.mark.parametrize("value", ["0", "", "-1"])
def test_counts_without_a_usable_factor_are_rejected(tmp_path, value):
    folder = make_pet(tmp_path / "pet", **COUNTS)
    for path in folder.iterdir():
        slice_ = pydicom.dcmread(path)
        slice_.add_new((0x7053, 0x1000), "DS", value)
        slice_.save_as(path)
    assert codes_of(folder) == ["DCM-SUV"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PatientWeight": None}, "Units BQML, PatientWeight missing in"),
        ({"PatientWeight": 0}, "PatientWeight 0"),
        ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose missing"),
        ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife missing"),
        ({"RadiopharmaceuticalStartTime": None}, "RadiopharmaceuticalStartTime missing"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection NONE"),
        ({"CorrectedImage": "ATTN"}, "CorrectedImage without DECY"),
        ({"SeriesTime": "113000"}, "SeriesTime 113000 after AcquisitionTime 103015.5"),
        ({"Units": "CNTS"}, "Units CNTS in"),
        ({"Units": None}, "Units missing in"),
    ],
)
def test_pet_whose_suv_cannot_be_computed_is_rejected_with_the_attribute(tmp_path, changes, says):
    problem = check_scan(make_pet(tmp_path / "pet", **changes)).problems[-1]
    assert problem.code == "DCM-SUV" and says in problem.found


def make_enhanced(folder: Path, num_files: int) -> Path:
    """The series as enhanced objects, frames in another order than they lie, places and slopes in functional groups."""
    write_series(folder, inter=0)
    slices = [pydicom.dcmread(folder / file_of(index)) for index in (4, 0, 3, 5, 1, 2)]
    [path.unlink() for path in folder.iterdir()]
    for number, part in enumerate(np.split(np.arange(6), num_files)):
        enhanced, frames = slices[part[0]], []
        enhanced.SOPInstanceUID = generate_uid()
        pixels = b"".join(slices[index].PixelData for index in part)
        for index in part:
            group, place, scaling = (pydicom.Dataset() for _ in range(3))
            place.ImagePositionPatient = slices[index].ImagePositionPatient
            scaling.RescaleSlope, scaling.RescaleIntercept = index + 1, 10
            group.PlanePositionSequence, group.PixelValueTransformationSequence = [place], [scaling]
            frames.append(group)
        shared, orientation, measures = (pydicom.Dataset() for _ in range(3))
        orientation.ImageOrientationPatient = enhanced.ImageOrientationPatient
        measures.PixelSpacing = enhanced.PixelSpacing
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        enhanced.SharedFunctionalGroupsSequence, enhanced.PerFrameFunctionalGroupsSequence = [shared], frames
        enhanced.NumberOfFrames, enhanced.PixelData = len(part), pixels
        for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
            del enhanced[tag]
        enhanced.save_as(folder / f"enhanced{number}.dcm")
    return folder


@pytest.mark.parametrize("num_files", [1, 2, 6])
def test_frames_of_enhanced_objects_have_their_own_place_and_scaling(tmp_path, num_files):
    plain = read_scan(write_series(tmp_path / "plain", inter=0))
    scan = read_scan(make_enhanced(tmp_path / "enhanced", num_files))
    slopes = np.array([2, 5, 6, 3, 1, 4], np.float32)
    np.testing.assert_array_equal(scan.array, plain.array * slopes + 10)
    np.testing.assert_allclose(scan.affine, plain.affine, atol=1e-5)


SAME_PIXELS = ("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "MR_small_jp2klossless.dcm")


@pytest.mark.parametrize("name", SAME_PIXELS)
def test_every_transfer_syntax_that_decodes_gives_the_plain_values(tmp_path, name):
    expected = pydicom.dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    (tmp_path / "series").mkdir()
    for index in range(3):
        path = tmp_path / "series" / f"{index}.dcm"
        shutil.copy(get_testdata_file(name), path)
        edit(path, ImagePositionPatient=[0, 0, 2 * index])
    array = read_scan(tmp_path / "series").array
    assert array.shape == (*expected.T.shape, 3) and all((array[..., index] == expected.T).all() for index in range(3))


@pytest.mark.parametrize("syntax", ["JPEGLosslessProcess14", "JPEGLosslessProcess14_1", "JPEGLSLossless"])
def test_lossless_jpeg_gives_the_plain_values(tmp_path, syntax):
    folder = write_series(tmp_path / "series")
    for path in folder.iterdir():
        transcode(path, syntax)
    assert pydicom.dcmread(folder / "0.dcm").file_meta.TransferSyntaxUID.is_compressed
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)


@pytest.mark.parametrize(
    ("syntax", "says"), [(HTJ2KLossless, "decoded by pylibjpeg"), (MPEG2MPML, "which no package decodes")]
)
def test_a_compression_that_nothing_decodes_names_what_to_install(tmp_path, syntax, says):
    folder = write_series(tmp_path / "series")
    compress(folder / file_of(3), syntax)
    problem = check_scan(folder).problems[-1]
    assert problem.code == "DCM-SYNTAX" and f"{syntax.name} in {file_of(3)}, {says}" in problem.found


def deflate(path: Path, **tags) -> None:
    slice_ = pydicom.dcmread(path)
    slice_.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    for tag, value in tags.items():
        setattr(slice_, tag, value)
    slice_.save_as(path)


def test_deflated_files_are_read_up_to_the_size_that_their_header_declares(tmp_path):
    folder = write_series(tmp_path / "series")
    for path in folder.iterdir():
        deflate(path)
    np.testing.assert_array_equal(read_scan(folder).array, VOXELS.T - 1024.0)
    deflate(folder / "0.dcm", PixelData=bytes(1 << 26))
    assert (folder / "0.dcm").stat().st_size < 1 << 17 and codes_of(folder) == ["NII-BOMB"]


SAMPLES = {
    "NII-FLAT": "693_J2KI CT_small J2K_pixelrep_mismatch MR_small MR_small_RLE MR_small_bigendian MR_small_expb "
    "MR_small_implicit MR_small_jp2klossless MR_small_jpeg_ls_lossless MR_small_padded MR_truncated examples_overlay "
    "rtdose_1frame rtdose_expb_1frame rtdose_rle_1frame",
    "DCM-TAG": "JPEG-lossy JPEG2000-embedded-sequence-delimiter JPEG2000 JPEGLSNearLossless_08 JPEGLSNearLossless_16 "
    "JPGExtended image_dfl",
    "DCM-NO-IMAGE": "ExplVR_BigEndNoMeta ExplVR_LitEndNoMeta reportsi reportsi_with_empty_number_tags rtplan "
    "rtplan_truncated rtstruct test-SR waveform_ecg",
    "DCM-READ": "UN_sequence badVR empty_charset_LEI meta_missing_tsyntax nested_priv_SQ no_meta no_meta_group_length "
    "priv_SQ",
    "DCM-FRAMES": "rtdose rtdose_expb rtdose_rle liver_1frame liver_expb_1frame",
}
"""The verdict on each file of pydicom's own tests, alone in a folder; all others are in color."""


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_of_pydicom_s_own_files_has_its_verdict(tmp_path):
    expected = {name: code for code, names in SAMPLES.items() for name in names.split()}
    found = {}
    for path in sorted((Path(DATA_ROOT) / "test_files").glob("*.dcm")):
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        found[path.stem] = codes_of(folder)
    assert found == {name: [expected.get(name, "DCM-COLOR")] for name in found} and len(found) > 75


def test_mutants_of_a_folder_end_in_a_verdict_of_one_line():
    """`python -m tests.imaging.io.dicom_mutants 2000` tries more."""
    outcomes = try_mutants(150, seed=10_000)
    assert sum(outcomes.values()) == 150 and 10 < outcomes["ok"] + outcomes["warn"] < 120
