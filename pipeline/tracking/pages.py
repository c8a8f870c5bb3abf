"""The report pages of a cohort as others may see them."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pipeline.cohorts.label_table import read_cohort
from pipeline.core.columns import PATIENT_ID, SCAN_ID
from pipeline.tracking.privacy import can_be_told, pseudonym, public_page

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pages:
    """With a pseudonym for every id of the cohort."""

    pseudonyms: dict[str, str]

    def public(self, page: Path) -> str | None:
        """None where ids cannot be told from figures, for then all of the page stays here."""
        if can_be_told(self.pseudonyms):
            return public_page(page.read_text(encoding="utf-8"), self.pseudonyms)
        log.warning("tracking: ids that are plain numbers cannot be taken out of %s; it is not sent.", page)
        return None


def pages_of(cohort: Path, key: bytes) -> Pages:
    """By cohort.csv."""
    rows = read_cohort(cohort)
    ids = sorted({*rows[SCAN_ID], *rows[PATIENT_ID]})
    return Pages({name: pseudonym(name, key) for name in ids})
