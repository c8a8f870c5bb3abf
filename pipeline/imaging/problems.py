"""Everything that can be wrong with a scan or a label table: one stable code, verdict, meaning and remedy each.

`docs/scan_problems.md` shows the same table; a code is never renamed or given a second meaning.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

Verdict = Literal["ok", "warn", "reject"]


@dataclass(frozen=True)
class Code:
    """What a code stands for: `meaning` reads on as '…, got <found>; <remedy>.'"""

    verdict: Verdict
    meaning: str
    remedy: str


COPY = "copy the file again from its source"
CONVERT = "convert the scan again from its source"
INSPECT = "look at the scan in a viewer before trusting left and right"

CODES: dict[str, Code] = {
    # The file
    "NII-MISSING": Code("reject", "no such file", "correct the path, or take the scan out of the table"),
    "NII-LINK": Code("reject", "the link leads nowhere", "fetch what it points to"),
    "NII-DIRECTORY": Code("reject", "neither a file nor a folder of DICOM slices", "give the file, or one inside it"),
    "NII-ACCESS": Code("reject", "the file cannot be read", "check permissions and the disk"),
    "NII-EMPTY": Code("reject", "the file is empty", COPY),
    "NII-LFS": Code("reject", "a git-lfs pointer, not the scan itself", "run 'git lfs pull' where it came from"),
    "NII-TEXT": Code("reject", "text, such as a download's error page, not a scan", COPY),
    "NII-PAIR": Code("reject", "half of a .hdr/.img pair", "put the other half beside it"),
    "NII-SUFFIX": Code("warn", "name and content disagree about compression", "rename it; it was read by content"),
    # The gzip stream
    "NII-TRUNCATED": Code("reject", "the gzip stream stops before its end", COPY),
    "NII-CRC": Code("reject", "the gzip checksum does not match", COPY),
    "NII-DEFLATE": Code("reject", "the compressed data are damaged", COPY),
    "NII-GZIP-TWICE": Code("reject", "compressed twice", "run 'gunzip' on it once"),
    "NII-BOMB": Code("reject", "the stream goes on far beyond the image", CONVERT),
    "NII-TRAILING": Code("warn", "bytes after the gzip stream", "they were ignored; copy the file again if unsure"),
    # The header
    "NII-HEADER": Code("reject", "shorter than a NIfTI header", COPY),
    "NII-HEADER-ONLY": Code("reject", "a header without any voxels", COPY),
    "NII-MAGIC": Code("reject", "not NIfTI: bad magic", "convert the scan to NIfTI"),
    "NII-SIZEOF": Code("warn", "sizeof_hdr is not the header's size", "it was ignored; convert again if unsure"),
    "NII-DTYPE": Code("reject", "unknown or unsupported datatype", "save the scan as a number type up to 64 bits"),
    "NII-RGB": Code("reject", "a colour image, expected one value a voxel", "save one channel or a grey scale"),
    "NII-COMPLEX": Code("reject", "complex values, expected real ones", "save the magnitude"),
    "NII-BITPIX": Code("warn", "bitpix does not match the datatype", "the datatype was used"),
    "NII-NDIM": Code("reject", "dim[0] must be 1 to 7", CONVERT),
    "NII-DIMS": Code("reject", "an axis without voxels", CONVERT),
    "NII-FLAT": Code("reject", "not a volume: an axis of one voxel", "give a scan of two voxels or more an axis"),
    "NII-4D": Code(
        "reject", "more than one volume", "save the one to use as its own file: nibabel's image.slicer[..., index]"
    ),
    "NII-5D": Code("reject", "more than four axes", "save one 3D volume as its own file"),
    "NII-HUGE": Code(
        "reject", "more voxels than any scan has, or than fit into memory", "check the header; crop the scan if right"
    ),
    "NII-SHORT": Code("reject", "more voxels declared than bytes present", COPY),
    "NII-OFFSET": Code("reject", "vox_offset points into the header or out of the file", CONVERT),
    "NII-EXTENSION": Code("reject", "a header extension of impossible size", CONVERT),
    "NII-EXTRA": Code("warn", "bytes after the image", "they were ignored; copy the file again if unsure"),
    "NII-SLOPE": Code("warn", "slope or intercept is not finite", "values were read unscaled; check their unit"),
    "NII-UNITS": Code("warn", "lengths are not in mm", "they were converted to mm"),
    # The place in space
    "NII-AFFINE": Code("reject", "the affine is singular, zero or not finite", CONVERT),
    "NII-QUATERNION": Code("reject", "impossible quaternion in the qform", CONVERT),
    "NII-SPACING": Code("reject", "zero, negative or non-finite voxel size and no sform to use instead", CONVERT),
    "NII-SPACING-RANGE": Code("reject", "voxel size outside 0.05 to 50 mm", "correct the header, or its units"),
    "NII-PIXDIM": Code("warn", "pixdim and sform disagree", "the sform was used"),
    "NII-FORMS": Code("warn", "sform and qform disagree", f"the sform was used; {INSPECT}"),
    "NII-SHEAR": Code("warn", "the axes are not at right angles", "they are kept as they are"),
    "NII-NO-TRANSFORM": Code(
        "warn", "neither qform nor sform, so orientation is unknown", f"x was taken to run to the left; {INSPECT}"
    ),
    "NII-XFORM-CODE": Code("warn", "qform_code or sform_code is not in the standard", "the transform was used"),
    "NII-ANISOTROPIC": Code("warn", "extreme anisotropy: a voxel ten times longer than wide", "check the voxel size"),
    # The voxels
    "NII-NONFINITE": Code("reject", "NaN or infinite voxels", "repair them, or set cohort.ingest.fill_nonfinite"),
    "NII-FILLED": Code("warn", "NaN or infinite voxels were replaced", "as cohort.ingest.fill_nonfinite says"),
    "NII-OVERFLOW": Code("reject", "values beyond float32", "check slope and intercept"),
    "NII-CONSTANT": Code("warn", "all voxels are the same", "look at the scan in a viewer"),
    "NII-PRECISION": Code("warn", "integers beyond 2^24 lose precision in float32", "rescale them if that matters"),
    # Several files as channels
    "NII-CHANNEL-MISSING": Code("reject", "a channel without a file", "add the file, or allow missing channels"),
    "NII-CHANNEL-GRID": Code("reject", "channels on different grids", "resample them to one grid"),
    # What to crop to
    "NII-CROP-MASK": Code("reject", "a mask to crop to without any voxel", "give another mask, or take the scan out"),
    "NII-CROP-OUTSIDE": Code("reject", "a mask to crop to that lies outside the scan", "give the mask of this scan"),
    "NII-CROP-CENTER": Code("reject", "a point to crop to that is no place in the scan", "give it as R, A and S in mm"),
    # A DICOM series
    "DCM-FILE": Code("reject", "a single DICOM file, not a volume", "give the folder that holds its series"),
    "DCM-READ": Code("reject", "a DICOM file that cannot be read", COPY),
    "DCM-TAG": Code("reject", "a DICOM file without what places it in space", CONVERT),
    "DCM-FRAMES": Code("reject", "several frames in one DICOM file", "convert it to NIfTI, with dcm2niix for instance"),
    "DCM-COLOUR": Code("reject", "a colour DICOM series, expected one value a voxel", "give the grey-scale series"),
    "DCM-MIXED": Code("reject", "slices that do not belong together", "give each series a folder of its own"),
    "DCM-TWICE": Code("reject", "slices at the same position", "give each time point or copy a folder of its own"),
    "DCM-GAP": Code("reject", "slices are missing", "export the whole series again"),
    "DCM-UNEVEN": Code("reject", "unevenly spaced slices", "resample the series, or give another"),
    # The label table
    "TAB-COLUMN": Code("reject", "a column is missing", "correct the name, or the cohort's columns section"),
    "TAB-NAME": Code("reject", "a covariate bears a name that cohort.csv needs", "rename that column"),
    "TAB-EMPTY": Code("reject", "no rows", "give a row a scan"),
    "TAB-ID-EMPTY": Code("reject", "ids are empty", "give every scan and patient one"),
    "TAB-ID-TWICE": Code("reject", "a scan_id stands in several rows", "give every scan its own"),
    "TAB-ID-NUMBER": Code("reject", "ids stored as numbers, which drop leading zeros", "store them as text"),
    "TAB-PADDED": Code("reject", "white space around an id or label", "take it away"),
    "TAB-LABEL-MISSING": Code("reject", "rows without a label", "label them or take them out"),
    "TAB-LABEL-UNKNOWN": Code("reject", "labels that are not among the classes", "correct them, or cohort.classes"),
    "TAB-LABEL-SINGLE": Code("reject", "one class is nothing to tell apart", "give scans of two classes or more"),
    "TAB-CLASS-NAME": Code("reject", "a class with a ';' in its name", "rename it, or set cohort.task: multilabel"),
    "TAB-POSITIVE": Code("reject", "positive_class does not fit the labels", "set cohort.positive_class"),
    "TAB-CLASS-SMALL": Code("reject", "a class in fewer than two patients", "add patients or take the class out"),
    "TAB-PATH": Code("reject", "paths that are empty or leave the data folder", "start them from the scans folder"),
    "TAB-NO-SCAN": Code("reject", "the row has no scan", "correct the path, or take the row out"),
    "TAB-NO-ROW": Code("warn", "scans that no row names", "they were ignored; add rows if they belong to the cohort"),
    "TAB-SAME-VOXELS": Code("warn", "the same voxels under several ids", "keep one, or see that they share a side"),
}


@dataclass(frozen=True)
class Problem:
    """One code, met in one scan, with the value that raised it."""

    code: str
    found: str

    @property
    def verdict(self) -> Verdict:
        return CODES[self.code].verdict

    @property
    def message(self) -> str:
        code = CODES[self.code]
        return f"{code.meaning}, got {self.found}; {code.remedy}."


class ScanProblem(ValueError):
    """A scan that cannot be used, with its `path`, `code` and `found`."""

    def __init__(self, path: Path, problem: Problem):
        super().__init__(f"{path}: {problem.message} [{problem.code}]")
        self.path, self.problem = path, problem

    def __reduce__(self) -> tuple[type["ScanProblem"], tuple[Path, Problem]]:
        """Pickled by its parts, so that it survives the way back from a worker process."""
        return type(self), (self.path, self.problem)

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def found(self) -> str:
        return self.problem.found


@dataclass
class Findings:
    """What has been noticed so far about one scan."""

    path: Path
    warnings: list[Problem] = field(default_factory=list)

    def warn(self, code: str, found: object) -> None:
        self.warnings.append(Problem(code, str(found)))

    def reject(self, code: str, found: object) -> NoReturn:
        raise ScanProblem(self.path, Problem(code, str(found)))
