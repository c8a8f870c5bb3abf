"""Remove what identifies patients, users and machines: pseudonyms for ids, configs and pages without private names."""

import hashlib
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import escape

from pipeline.cohorts.label_table import read_cohort
from pipeline.config import Config
from pipeline.core.columns import PATIENT_ID, SCAN_ID
from pipeline.core.provenance import portable_config

log = logging.getLogger(__name__)
KEY_BYTES = 32
IMAGE_DATA = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+)")
"""Images embedded in a page."""


def read_key(path: Path) -> bytes:
    """The secret behind the pseudonyms of this clone; created on first use, and again where a crash cut it short."""
    if not path.is_file():
        create_key(path)
    digits = path.read_text(encoding="ascii", errors="replace").strip()
    if re.fullmatch(rf"[0-9a-f]{{0,{2 * KEY_BYTES - 1}}}", digits):
        # No pseudonym was ever made with an incomplete key.
        log.warning("%s: contains %d of %d digits; writing a new key.", path, len(digits), 2 * KEY_BYTES)
        path.unlink(missing_ok=True)
        create_key(path)
        digits = path.read_text(encoding="ascii").strip()
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", digits):
        raise ValueError(
            f"{path}: expected {2 * KEY_BYTES} hexadecimal digits, got {len(digits)} other characters; copy the file "
            "from a clone whose pseudonyms you want to keep, or remove it to get new ones."
        )
    return bytes.fromhex(digits)


def create_key(path: Path) -> None:
    """Write a new key that only its owner can read, complete or not at all; an existing file stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_hex(KEY_BYTES) + "\n")
    try:
        os.link(temporary, path)
    except FileExistsError:
        log.debug("%s: another process wrote it first.", path)
    finally:
        os.unlink(temporary)


def pseudonym(name: str, key: bytes) -> str:
    """A stable pseudonym of an id: the same key and id always give the same one."""
    return hashlib.blake2s(name.encode(), key=key, digest_size=6).hexdigest()


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config without this machine's folders and files."""
    return portable_config(config.model_dump(mode="json"))


def are_replaceable(names: Iterable[str]) -> bool:
    """Can ids be told apart from the numbers of a page? Ids that are plain numbers cannot."""
    return not any(re.fullmatch(r"[\d.,+-]*", name) for name in names)


def anonymize_page(html: str, pseudonyms: Mapping[str, str]) -> str:
    """Replace each id of a page by its pseudonym, long ids first; images stay as they are.

    An id is replaced inside `p001_t1.nii` too, but not inside `p0010`.
    """
    escaped = {str(escape(name)): pseudonym for name, pseudonym in pseudonyms.items()}
    longest_first = sorted(escaped, key=len, reverse=True)
    ids = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(map(re.escape, longest_first))})(?![A-Za-z0-9])")
    parts = IMAGE_DATA.split(html)
    # Every second part is an image.
    parts[::2] = [ids.sub(lambda match: escaped[match[0]], part) for part in parts[::2]]
    return "".join(parts)


@dataclass(frozen=True)
class PublicPages:
    """Pages of a cohort with a pseudonym for each of its ids."""

    pseudonyms: dict[str, str]

    def anonymize(self, page: Path) -> str | None:
        """None where ids cannot be told apart from numbers; then the page is not sent."""
        if are_replaceable(self.pseudonyms):
            return anonymize_page(page.read_text(encoding="utf-8"), self.pseudonyms)
        log.warning("tracking: ids that are plain numbers cannot be removed from %s; it is not sent.", page)
        return None


def read_public_pages(cohort: Path, key: bytes) -> PublicPages:
    """With the ids of cohort.csv."""
    rows = read_cohort(cohort)
    ids = sorted({*rows[SCAN_ID], *rows[PATIENT_ID]})
    return PublicPages({name: pseudonym(name, key) for name in ids})
