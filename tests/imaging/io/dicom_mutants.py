"""Damaged folders of DICOM: bytes flipped or cut, tags removed or made absurd, files copied, emptied or put beside.

`python -m tests.imaging.io.dicom_mutants 2000` tries as many and prints what became of them. A process of its own reads
each share of them, so that a crash of a decoder is seen, and an alarm ends one that hangs.
"""

import multiprocessing
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from pipeline.imaging.io.discover import find_scans
from pipeline.imaging.problems import CODES
from pipeline.imaging.validation import check_scan
from tests.imaging.dicom_making import transcode, write_slices

NUM_SLICES = 3
PER_PROCESS = 100
MAX_S = 30
VOXELS = np.random.default_rng(0).integers(-1000, 1000, (NUM_SLICES, 12, 10)).astype(np.int16)
ABSURD = (None, "", 0, -1, 1, 1e308, "nan", "1\\2\\3", "x" * 70, 65535, 2**31, b"\xff\xfe", [], [pydicom.Dataset()])


def plain(folder: Path) -> None:
    frame = np.eye(3)
    names = [f"{index}.dcm" for index in range(NUM_SLICES)]
    geometry = {"axes": frame[:, :2].T, "first_mm": (0, 0, 0), "step_mm": frame[:, 2] * 3, "pixel_mm": (1.0, 1.0)}
    write_slices(folder, VOXELS, names=names, inter=-1024, **geometry)


def edited(folder: Path, change: Callable[[pydicom.Dataset], None]) -> None:
    plain(folder)
    for path in sorted(folder.iterdir()):
        slice_ = pydicom.dcmread(path)
        change(slice_)
        slice_.save_as(path, enforce_file_format=True)


def with_syntax(folder: Path, syntax: UID) -> None:
    def change(slice_: pydicom.Dataset) -> None:
        if syntax == RLELossless:
            slice_.compress(RLELossless)
        slice_.file_meta.TransferSyntaxUID = syntax

    edited(folder, change)


def compressed(folder: Path, syntax: str) -> None:
    plain(folder)
    for path in folder.iterdir():
        transcode(path, syntax)


def pet(folder: Path) -> None:
    def change(slice_: pydicom.Dataset) -> None:
        dose = pydicom.Dataset()
        dose.RadionuclideTotalDose, dose.RadionuclideHalfLife, dose.RadiopharmaceuticalStartTime = 3.7e8, 6586.2, "0930"
        slice_.Modality, slice_.Units, slice_.PatientWeight, slice_.DecayCorrection = "PT", "BQML", 70, "START"
        slice_.SeriesDate, slice_.SeriesTime, slice_.AcquisitionTime = "20240131", "103000", "103015.5"
        slice_.RadiopharmaceuticalInformationSequence = [dose]

    edited(folder, change)


def enhanced(folder: Path) -> None:
    """One file of several frames, each with its functional groups."""
    plain(folder)
    slices = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    [path.unlink() for path in folder.iterdir()]
    whole, frames = slices[0], []
    for slice_ in slices:
        frame, place, direction, measures = (pydicom.Dataset() for _ in range(4))
        place.ImagePositionPatient = slice_.ImagePositionPatient
        direction.ImageOrientationPatient, measures.PixelSpacing = slice_.ImageOrientationPatient, slice_.PixelSpacing
        frame.PlanePositionSequence, frame.PlaneOrientationSequence = [place], [direction]
        frame.PixelMeasuresSequence = [measures]
        frames.append(frame)
    whole.PixelData, whole.NumberOfFrames = b"".join(slice_.PixelData for slice_ in slices), NUM_SLICES
    whole.PerFrameFunctionalGroupsSequence = frames
    whole.save_as(folder / "whole.dcm")


def without_preamble(folder: Path) -> None:
    plain(folder)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[132 + 12 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength :])


def stacked(folder: Path, name: str) -> None:
    """One of pydicom's own files several times, each further along."""
    folder.mkdir()
    for index in range(NUM_SLICES):
        slice_ = pydicom.dcmread(get_testdata_file(name))
        slice_.ImagePositionPatient = [0, 0, 2 * index]
        slice_.save_as(folder / f"{index}.dcm")


SOUND: dict[str, Callable[[Path], None]] = {
    "plain": plain,
    "enhanced": enhanced,
    "pet": pet,
    "without preamble": without_preamble,
    "implicit": lambda folder: with_syntax(folder, ImplicitVRLittleEndian),
    "big-endian": lambda folder: stacked(folder, "MR_small_bigendian.dcm"),
    "deflated": lambda folder: with_syntax(folder, DeflatedExplicitVRLittleEndian),
    "RLE": lambda folder: with_syntax(folder, RLELossless),
    "JPEG lossless": lambda folder: compressed(folder, "JPEGLosslessProcess14_1"),
    "JPEG-LS": lambda folder: compressed(folder, "JPEGLSLossless"),
    "JPEG 2000": lambda folder: stacked(folder, "MR_small_jp2klossless.dcm"),
}


def mutate_bytes(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 3, 20))):
        place = chance.randrange(len(content) or 1)
        match chance.randrange(4):
            case 0 | 1 if content:
                content[place] = chance.randrange(256)
            case 2:
                del content[place : place + chance.choice((1, 4, 50, 10_000))]
            case _:
                content[place:place] = chance.randbytes(chance.choice((1, 4, 50)))
    path.write_bytes(content)


def mutate_tag(path: Path, chance: random.Random) -> None:
    """Remove a tag, at any depth, or give it an absurd value."""
    slice_ = pydicom.dcmread(path, force=True)
    tags = [(dataset, element.tag) for dataset in (slice_, slice_.file_meta) for element in dataset]
    slice_.walk(lambda dataset, element: tags.append((dataset, element.tag)))
    dataset, tag = chance.choice(tags)
    if chance.random() < 0.3:
        del dataset[tag]
    else:
        dataset[tag].value = chance.choice(ABSURD)
    slice_.save_as(path)


def mutate_folder(path: Path, chance: random.Random) -> None:
    """Something beside the slices, or one of them gone, copied, emptied, a folder, a broken link."""
    beside = path.with_name(chance.choice(("copy.dcm", ".hidden.dcm", "DICOMDIR", "notes", "a.nii", "\udcff.dcm")))
    match chance.randrange(6):
        case 0:
            shutil.copy(path, beside)
        case 1:
            path.unlink()
        case 2:
            path.write_bytes(b"")
        case 3:
            beside.mkdir()
        case 4:
            beside.symlink_to(path.with_name("nowhere"))
        case _:
            beside.write_bytes(chance.randbytes(300))


def mutate(folder: Path, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 2))):
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if not files:
            return
        kind = chance.choice((mutate_bytes, mutate_tag, mutate_tag, mutate_folder))
        try:
            kind(chance.choice(files), chance)
        # pydicom refuses to write many absurd values, or to read what was damaged before.
        except Exception:
            mutate_bytes(files[0], chance)


def judge(folder: Path) -> str:
    """The verdict on the folder, as a whole and as `ingest check` finds it; every code is one of ours, in one line."""
    for scan in find_scans(folder):
        check_scan(scan)
    check = check_scan(folder)
    assert all(problem.code in CODES and "\n" not in problem.message for problem in check.problems), check
    assert check.facts is None or min(check.facts.spacing_mm) > 0, check
    return check.verdict if check.verdict != "reject" else check.problems[-1].code


def try_mutants(number: int, seed: int) -> Counter[str]:
    chance, outcomes = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, write in SOUND.items():
            write(Path(temporary) / name)
        for index in range(number):
            folder = Path(temporary) / "mutant"
            shutil.copytree(Path(temporary) / chance.choice(list(SOUND)), folder)
            mutate(folder, chance)
            signal.alarm(MAX_S)
            try:
                outcomes[judge(folder)] += 1
            except BaseException as error:
                raise AssertionError(f"seed {seed}, mutant {index}: {type(error).__name__}: {error}") from error
            finally:
                signal.alarm(0)
            shutil.rmtree(folder)
    return outcomes


if __name__ == "__main__":
    began, found = time.monotonic(), Counter()
    seeds = range(int(sys.argv[1]) // PER_PROCESS)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for outcomes in pool.map(try_mutants, [PER_PROCESS] * len(seeds), seeds):
            found += outcomes
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10
    sys.stdout.write(f"{dict(found.most_common())} in {time.monotonic() - began:.0f} s, {peak} MiB at most\n")
