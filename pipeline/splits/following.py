"""The files outside the graph that a split reads: linked beside the cohort, where DVC sees that one was edited."""

from pipeline.artifacts import CohortPaths
from pipeline.config import Split
from pipeline.files import expand, whole_file


def follow_given_files(settings: Split, paths: CohortPaths) -> None:
    """Put a link to each given file in its place, and an empty file where none is given: DVC wants an output there."""
    places = {
        "file": paths.given_split,
        "pretraining_patients": paths.pretraining_patients,
        "statistics_patients": paths.statistics_patients,
    }
    for key, place in places.items():
        given = getattr(settings, key)
        place.unlink(missing_ok=True)
        if given:
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(expand(given, f"split.{key}").resolve())
        else:
            with whole_file(place):
                pass
