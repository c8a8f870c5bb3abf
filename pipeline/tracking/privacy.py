"""Stand-ins for ids, and configs that name nobody's folders."""

import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import escape

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import PATIENT_ID, SCAN_ID
from pipeline.core.provenance import without_places

KEY_BYTES = 32
PICTURES = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+)")
"""Pictures inside a page."""


def read_key(path: Path) -> bytes:
    """The secret behind the pseudonyms of this clone, drawn when it is first needed."""
    if not path.is_file():
        draw_key(path)
    digits = path.read_text(encoding="ascii").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", digits):
        raise ValueError(
            f"{path}: expected {2 * KEY_BYTES} hexadecimal digits, got {len(digits)} other characters; copy the file "
            "from a clone whose pseudonyms are to go on, or remove it, and new ones are drawn."
        )
    return bytes.fromhex(digits)


def draw_key(path: Path) -> None:
    """For its owner's eyes; of two processes that draw at once the first has its way."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(KEY_BYTES) + "\n")


def pseudonym(name: str, key: bytes) -> str:
    """A stable stand-in for an id: under one key the same id always has the same one."""
    return hashlib.blake2s(name.encode(), key=key, digest_size=6).hexdigest()


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config without folders and files of this machine."""
    return without_places(config.model_dump(mode="json"))


def can_be_told(names: Iterable[str]) -> bool:
    """Can ids be told from the figures of a page? Plain numbers cannot."""
    return not any(re.fullmatch(r"[\d.,+-]*", name) for name in names)


def public_page(html: str, pseudonyms: Mapping[str, str]) -> str:
    """A page with the pseudonym in place of each id, long ids before those that they begin with; pictures stay.

    An id counts as a word of its own inside `p001_t1.nii` too, but not inside `p0010`.
    """
    spelled = {str(escape(name)): stand_in for name, stand_in in pseudonyms.items()}
    longest_first = sorted(spelled, key=len, reverse=True)
    ids = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])")
    parts = PICTURES.split(html)
    # Every second part is a picture.
    parts[::2] = [ids.sub(lambda found: spelled[found[0]], part) for part in parts[::2]]
    return "".join(parts)


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
