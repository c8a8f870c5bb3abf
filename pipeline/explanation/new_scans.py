"""Explanation maps of new scans, each on the grid of its file."""

import gzip
import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.core.io import whole_file
from pipeline.explanation.run import attribute, explained_class
from pipeline.imaging.preprocessing import map_on_scan
from pipeline.inference.new_scans import NewScan
from pipeline.inference.trained_run import ScanPrediction, TrainedRun

MAX_NAME = 80


def map_writer(run: TrainedRun, folder: Path) -> Callable[[NewScan, ScanPrediction], str]:
    """A function that writes the map of a new scan, the mean over the trainings of `run`, and gives the file's name."""
    classifier = run.classifier
    first = classifier.trainings[0]
    folder.mkdir(parents=True, exist_ok=True)

    def draw(scan: NewScan, found: ScanPrediction) -> str:
        prepared = first.prepare(scan.files)
        explained = explained_class(run.classes, max(found.probabilities, key=found.probabilities.__getitem__))
        maps = [
            attribute(trained, prepared.array, run.classes.index(explained), trained.config.explanation.method)
            for trained in classifier.trainings
        ]
        path = folder / f"{map_name(scan)}.nii.gz"
        image = map_on_scan(np.mean(maps, axis=0), prepared, first.transforms)
        with whole_file(path, is_one_of_many=True) as temporary:
            temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
        return f"{folder.name}/{path.name}"

    return draw


def map_name(scan: NewScan) -> str:
    """The last parts of the scan's name, and a few digits that tell scans of the same name apart."""
    digits = hashlib.sha256(scan.name.encode()).hexdigest()[:8]
    stem = re.sub(r"\.(nii|hdr|img)(\.gz)?$", "", Path(scan.name).name, flags=re.IGNORECASE)
    plain = re.sub(r"[^\w.-]+", "_", stem)
    return f"{plain[:MAX_NAME]}-{digits}"
