"""What is known of a training beside its result: how it stands, and where its W&B run is."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.files import read_json, write_json

Status = Literal["running", "finished", "stopped"]


@dataclass(frozen=True)
class Record:
    """`tracking.json` of one training."""

    run_id: str
    """Of the W&B run; made from the config, plan and data, which the model file carries too."""
    status: Status
    """A training that was killed stays `running`."""
    parts: tuple[str, ...] = ()
    """Folders below wandb/ that this training wrote, one a sitting."""

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    def with_part(self, part: str | None) -> "Record":
        return replace(self, parts=(*self.parts, part)) if part else self

    def ended(self, status: Status) -> "Record":
        return replace(self, status=status)


def read_record(path: Path) -> Record | None:
    """None for a training that was never watched."""
    if not path.is_file():
        return None
    content = read_json(path)
    return Record(**{**content, "parts": tuple(content["parts"])})
