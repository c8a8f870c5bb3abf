"""A trained model as one file that carries everything prediction needs, read with weights-only loading."""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor

from pipeline.core.io import whole_file

FORMAT = 2


@dataclass(frozen=True)
class RunFile:
    """What `best.ckpt` holds."""

    config: dict[str, Any]
    """The resolved config, as in config.yaml."""
    plan: dict[str, Any]
    """How raw scans are prepared."""
    classes: list[str]
    """Class names in the order of the logits."""
    state_dict: dict[str, Tensor]
    """The network's weights."""
    epoch: int
    """The epoch they come from, from 0."""
    score: float
    """The monitored validation figure there."""
    data_hash: str
    """Of the training data, so that a run can be told from one on other data."""
    code_hash: str
    """Of the code that trained it."""

    def write(self, path: Path) -> None:
        """Whole or not at all."""
        with whole_file(path) as temporary:
            torch.save({"format": FORMAT, **vars(self)}, temporary)

    @classmethod
    def read(cls, path: Path) -> "RunFile":
        """Refuses a file that is damaged, holds code, or is none of ours."""
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; 'dvc repro' or 'python -m pipeline.train' writes it.")
        content = load_plain(path)
        expected = {field.name for field in fields(cls)} | {"format"}
        written = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
        if written != FORMAT:
            raise ValueError(f"{path}: written in format {written}, expected {FORMAT}; train again with this version.")
        if not isinstance(content, dict) or set(content) != expected:
            raise ValueError(f"{path}: not one of this pipeline's checkpoints, expected the keys {sorted(expected)}.")
        return cls(**{name: content[name] for name in expected - {"format"}})


def load_plain(path: Path) -> Any:
    """Tensors and plain values of a file that torch.save wrote, its checksums verified; anything else is an error."""
    try:
        # torch.load does not look at the checksums that torch.save wrote.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"checksum of {damaged}")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, EOFError, UnpicklingError, ValueError, KeyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a whole checkpoint of plain weights ({reason}); train again.") from None
