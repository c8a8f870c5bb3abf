"""What is known of a training beside its result: how it stands, and which W&B run it is."""

import logging
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Literal

from pipeline.core.io import read_json, write_json

log = logging.getLogger(__name__)
Status = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class Record:
    """`tracking.json` of one training."""

    run_id: str
    """Of the W&B run: the key, or what the agent of a sweep calls its trial."""
    key: str
    """Made from the config, plan and data; the model file carries it too."""
    status: Status
    """A training that was killed stays `running`."""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def ended(self, status: Status) -> "Record":
        return replace(self, status=status)


def read_record(path: Path) -> Record | None:
    """None for a training that was never watched, or by a version with other words."""
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        return Record(**{field.name: content[field.name] for field in fields(Record)})
    except (ValueError, LookupError, TypeError) as error:
        log.warning("%s: not a record of this version (%s); it is passed over.", path, error)
        return None


def run_id_from(path: Path, key: str) -> str:
    """The W&B run of the training with this key, by the record at `path` if that is about it."""
    record = read_record(path)
    return record.run_id if record and record.key == key else key
