"""Every problem of a scan or a label table: a stable code with its verdict, meaning and remedy.

`docs/scan_problems.md` shows the same table. A code is never renamed or given a second meaning.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from pipeline.config.ingest import SPACING_RANGE_MM

Verdict = Literal["ok", "warn", "reject"]
MAX_SHOWN = 1_000
"""Letters of a name or finding that a message shows."""


@dataclass(frozen=True)
class Code:
    """What a code means; a message reads '<meaning>, got <found>; <remedy>.'"""

    verdict: Verdict
    meaning: str
    remedy: str


COPY = "copy the file again from its source"
CONVERT = "convert the scan again from its source"
INSPECT = "check left and right in a viewer"

CODES: dict[str, Code] = {
    # The file
    "NII-MISSING": Code("reject", "no such file", "correct the path, or remove the scan from the table"),
    "NII-LINK": Code("reject", "a broken link", "fetch the file that it points to"),
    "NII-DIRECTORY": Code("reject", "neither a file nor a folder of DICOM slices", "give the file, or one inside it"),
    "NII-ACCESS": Code("reject", "the file cannot be read", "check permissions and the disk"),
    "NII-EMPTY": Code("reject", "the file is empty", COPY),
    "NII-LFS": Code("reject", "a git-lfs pointer, not the scan itself", "run 'git lfs pull' where it came from"),
    "NII-TEXT": Code("reject", "text, such as a download's error page, not a scan", COPY),
    "NII-PAIR": Code("reject", "one file of a .hdr/.img pair", "put the other file beside it"),
    "NII-SUFFIX": Code("warn", "name and content disagree about compression", "rename it; it was read by content"),
    # The gzip stream
    "NII-TRUNCATED": Code("reject", "the gzip stream is truncated", COPY),
    "NII-CRC": Code("reject", "the gzip checksum does not match", COPY),
    "NII-DEFLATE": Code("reject", "the compressed data are damaged", COPY),
    "NII-GZIP-TWICE": Code("reject", "compressed twice", "run 'gunzip' once on the file"),
    "NII-BOMB": Code("reject", "the stream continues far beyond the image", CONVERT),
    "NII-TRAILING": Code("warn", "bytes after the gzip stream", "they were ignored; copy the file again if unsure"),
    # The header
    "NII-HEADER": Code("reject", "shorter than a NIfTI header", COPY),
    "NII-HEADER-ONLY": Code("reject", "a header without any voxels", COPY),
    "NII-MAGIC": Code("reject", "not NIfTI: bad magic", "convert the scan to NIfTI"),
    "NII-SIZEOF": Code("warn", "sizeof_hdr is not the header's size", "it was ignored; convert again if unsure"),
    "NII-DTYPE": Code("reject", "unknown or unsupported datatype", "save the scan as a number type up to 64 bits"),
    "NII-RGB": Code(
        "reject", "a color image, expected one value per voxel", "save one channel or convert it to grayscale"
    ),
    "NII-COMPLEX": Code("reject", "complex values, expected real ones", "save the magnitude"),
    "NII-BITPIX": Code("warn", "bitpix does not match the datatype", "the datatype was used"),
    "NII-NDIM": Code("reject", "dim[0] must be 1 to 7", CONVERT),
    "NII-DIMS": Code("reject", "an axis without voxels", CONVERT),
    "NII-FLAT": Code("reject", "not a volume: an axis has one voxel", "use a scan with at least two voxels per axis"),
    "NII-4D": Code(
        "reject", "more than one volume", "save one volume as its own file, with nibabel's image.slicer[..., index]"
    ),
    "NII-5D": Code("reject", "more than four axes", "save one 3D volume as its own file"),
    "NII-HUGE": Code(
        "reject", "too many voxels for a scan or for memory", "check the header; crop the scan if it is right"
    ),
    "NII-SHORT": Code("reject", "more voxels declared than bytes present", COPY),
    "NII-OFFSET": Code("reject", "vox_offset points into the header or beyond the file", CONVERT),
    "NII-EXTENSION": Code("reject", "a header extension of impossible size or that extends beyond vox_offset", CONVERT),
    "NII-EXTRA": Code("warn", "bytes after the image", "they were ignored; copy the file again if unsure"),
    "NII-SLOPE": Code("warn", "slope or intercept is not finite", "values were not scaled; check their unit"),
    "NII-UNITS": Code("warn", "lengths are not in mm", "spacing and affine were converted to mm"),
    # Position in space
    "NII-AFFINE": Code("reject", "the affine is singular, zero or not finite", CONVERT),
    "NII-QUATERNION": Code("reject", "impossible quaternion in the qform", CONVERT),
    "NII-SPACING": Code("reject", "zero, negative or non-finite voxel size and no sform", CONVERT),
    "NII-SPACING-RANGE": Code(
        "reject", "voxel size out of range", "correct the header or its units, or set cohort.ingest.spacing_range_mm"
    ),
    "NII-PIXDIM": Code("warn", "pixdim and sform disagree", "the sform was used"),
    "NII-FORMS": Code("warn", "sform and qform disagree", f"the sform was used; {INSPECT}"),
    "NII-SHEAR": Code("warn", "the axes are not at right angles", "the shear was kept"),
    "NII-NO-TRANSFORM": Code(
        "warn", "neither qform nor sform, so the orientation is unknown", f"x was assumed to point left; {INSPECT}"
    ),
    "NII-XFORM-CODE": Code("warn", "qform_code or sform_code is not in the standard", "the transform was used"),
    "NII-ANISOTROPIC": Code(
        "warn", "extreme anisotropy: a voxel at least ten times as long as wide", "check the voxel size"
    ),
    # The voxels
    "NII-NONFINITE": Code("reject", "NaN or infinite voxels", "repair the scan, or set cohort.ingest.fill_nonfinite"),
    "NII-FILLED": Code("warn", "NaN or infinite voxels", "they were replaced by cohort.ingest.fill_nonfinite"),
    "NII-OVERFLOW": Code("reject", "values beyond float32", "check slope and intercept"),
    "NII-CONSTANT": Code("warn", "all voxels have the same value", "check the scan in a viewer"),
    "NII-SCALE": Code(
        "warn", "values are not on the scale of the modality", "check rescale and units, and convert the scan again"
    ),
    "NII-UNUSUAL": Code(
        "warn", "far from what is usual in the cohort", "check that it is the right scan, converted as the others were"
    ),
    "NII-PRECISION": Code("warn", "integers beyond 2^24 lose precision in float32", "rescale them if that matters"),
    # Several files as channels
    "NII-CHANNEL-MISSING": Code(
        "reject", "a channel without a file", "add the file, or set cohort.ingest.missing_channel: zero"
    ),
    "NII-CHANNEL-GRID": Code("reject", "channels on different grids", "resample them to one grid"),
    # What to crop to
    "NII-CROP-MASK": Code(
        "reject", "the mask to crop to is empty", "give another mask, or remove the scan from the table"
    ),
    "NII-CROP-OUTSIDE": Code("reject", "the mask to crop to is outside the scan", "give the mask of this scan"),
    "NII-CROP-CENTER": Code("reject", "the point to crop to is not in the scan", "give it as R, A and S in mm"),
    # A DICOM series
    "DCM-FILE": Code("reject", "a single DICOM file, not a volume", "give the folder of its series"),
    "DCM-READ": Code("reject", "a DICOM file that cannot be read", COPY),
    "DCM-NO-IMAGE": Code("reject", "DICOM objects, none of them an image", "give the folder of an image series"),
    "DCM-OTHER": Code("warn", "DICOM objects without an image beside the slices", "they were skipped"),
    "DCM-SERIES": Code(
        "warn",
        "several DICOM series in one folder",
        "the first was read; if you mean another, put it into a folder of its own",
    ),
    "DCM-SYNTAX": Code(
        "reject",
        "a compression that no installed package decodes",
        "install what is named, if anything is, or decompress the series, for example with 'gdcmconv --raw'",
    ),
    "DCM-VALUES": Code(
        "reject",
        "a DICOM attribute that changes what the values mean",
        "convert the series to NIfTI with the values that you mean",
    ),
    "DCM-RESCALE": Code(
        "reject", "a rescale slope or intercept that is empty, zero or not finite", "export the series again"
    ),
    "DCM-SUV": Code(
        "reject",
        "PET that cannot be converted to SUV by body weight",
        "export the series with this attribute, or in SUV, whose Units are GML",
    ),
    "DCM-TAG": Code("reject", "a DICOM file without position, orientation or spacing", CONVERT),
    "DCM-FRAMES": Code("reject", "several frames in one DICOM file", "convert it to NIfTI, for example with dcm2niix"),
    "DCM-COLOR": Code("reject", "a color DICOM series, expected one value per voxel", "give the grayscale series"),
    "DCM-MIXED": Code("reject", "slices of different grids or units", "put each series into its own folder"),
    "DCM-TWICE": Code("reject", "several slices at one position", "put each time point or copy into its own folder"),
    "DCM-GAP": Code("reject", "slices are missing", "export the whole series again"),
    "DCM-UNEVEN": Code("reject", "unevenly spaced slices", "resample the series, or use another"),
    # The label table
    "TAB-COLUMN": Code("reject", "a column is missing", "correct the name, or the cohort's columns section"),
    "TAB-NAME": Code("reject", "a covariate has the name of a column of cohort.csv", "rename that column"),
    "TAB-EMPTY": Code("reject", "no row with a usable scan", "give one row per scan"),
    "TAB-ID-EMPTY": Code("reject", "empty ids", "give every scan and patient an id"),
    "TAB-ID-TWICE": Code("reject", "several rows have the same scan_id", "give every scan its own"),
    "TAB-ID-NUMBER": Code("reject", "ids stored as numbers, which lose leading zeros", "store them as text"),
    "TAB-PADDED": Code("reject", "white space or invisible characters around an id or label", "remove them"),
    "TAB-LABEL-MISSING": Code("reject", "rows without a label", "label them, or remove the rows"),
    "TAB-LABEL-UNKNOWN": Code("reject", "labels that are not among the classes", "correct them, or cohort.classes"),
    "TAB-LABEL-SPELLING": Code(
        "reject", "a class in several spellings", "name one, such as cohort.classes: {ill: [Ill, ILL], well: []}"
    ),
    "TAB-TELLS-LABEL": Code(
        "warn",
        "a column that tells the class of every row",
        "if the label was made from it, name it in cohort.columns.label_source",
    ),
    "TAB-DECIMAL": Code(
        "reject",
        "a sign that may stand for decimals or for thousands",
        "write them alike, or set cohort.columns.decimal to one of . and ,",
    ),
    "TAB-INFINITE": Code("reject", "a number that is not finite", "correct it, or leave the cell empty"),
    "TAB-LABEL-SINGLE": Code("reject", "only one class", "give scans of at least two classes"),
    "TAB-CLASS-NAME": Code("reject", "a class with a ';' in its name", "rename it, or set cohort.task: multilabel"),
    "TAB-POSITIVE": Code("reject", "positive_class does not fit the labels", "set cohort.positive_class"),
    "TAB-CLASS-SMALL": Code("reject", "a class with fewer than two patients", "add patients, or remove the class"),
    "TAB-PATH": Code(
        "reject", "paths that are empty or outside the scans folder", "give paths relative to the scans folder"
    ),
    "TAB-NO-SCAN": Code("reject", "the row has no scan", "correct the path, or remove the row"),
    "TAB-NO-ROW": Code("warn", "scans without a row", "they were ignored; add rows if they belong to the cohort"),
    "TAB-LABEL-SOURCE": Code(
        "reject",
        "the label was made from a file that is the scan or what it is cropped to",
        "give another file, or take the column out of columns.label_source if the label is independent of it",
    ),
    "TAB-SCALES": Code(
        "warn", "scans on different scales of values", "check units and rescale of the smaller group, or leave it out"
    ),
    "TAB-SAME-VOXELS": Code(
        "warn", "the same voxels under several ids", "keep one, or give all of them one patient_id"
    ),
}


@dataclass(frozen=True)
class Problem:
    """A code that applies to one scan or table, with the value found."""

    code: str
    found: str

    @property
    def verdict(self) -> Verdict:
        return CODES[self.code].verdict

    @property
    def message(self) -> str:
        code = CODES[self.code]
        return f"{code.meaning}, got {on_one_line(self.found)}; {code.remedy}."


def on_one_line(text: str) -> str:
    """A name as it is, but with escapes for line ends and what nobody sees, and cut where it is absurdly long."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]}…{text[-MAX_SHOWN // 2 :]}"
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in shown)


class ScanProblem(ValueError):
    """A scan that is rejected, with its `path`, `code` and `found`."""

    def __init__(self, path: Path, problem: Problem):
        super().__init__(f"{on_one_line(str(path))}: {problem.message} [{problem.code}]")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type["ScanProblem"], tuple[Path, Problem]]:
        """Pickled by its parts, so that worker processes can return it."""
        return type(self), (self.path, self.problem)

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def found(self) -> str:
        return self.problem.found


@dataclass
class Findings:
    """The problems found so far in one scan: warnings are collected, a rejection is raised."""

    path: Path
    warnings: list[Problem] = field(default_factory=list)
    spacing_range_mm: tuple[float, float] = SPACING_RANGE_MM
    """Voxel sizes that are accepted."""

    def warn(self, code: str, found: object) -> None:
        self.warnings.append(Problem(code, str(found)))

    def reject(self, code: str, found: object) -> NoReturn:
        raise ScanProblem(self.path, Problem(code, str(found)))
