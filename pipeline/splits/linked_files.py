"""The files outside the graph that a split reads: linked beside the cohort, where DVC sees that one was edited."""

from pipeline.config import Split
from pipeline.core.io import expand
from pipeline.core.paths import CohortPaths

LINKS = {
    "file": "split.csv",
    "pretraining_patients": "pretraining_patients.txt",
    "statistics_patients": "statistics_patients.txt",
}
"""The link's name for each key of the split's config."""


def follow_given_files(settings: Split, paths: CohortPaths) -> None:
    """Link each given file, and leave an empty one where none is given: DVC wants an output there."""
    for key, name in LINKS.items():
        link, given = paths.given(name), getattr(settings, key)
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        if given:
            link.symlink_to(expand(given, f"split.{key}").resolve())
        else:
            link.touch()
