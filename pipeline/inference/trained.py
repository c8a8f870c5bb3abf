"""A checkpoint brought back to life: weights, plan and classes, ready for stored or raw scans.

Axes: B batch, C channels, D H W depth height width, K classes, F features.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Columns, Config, Plan
from pipeline.core.io import sha256
from pipeline.imaging.intensity import to_standards
from pipeline.imaging.io.discover import ScanFiles
from pipeline.imaging.preprocessing import Prepared, preprocess_scan
from pipeline.models.quantization import dequantise_weights
from pipeline.training.auto import build_network
from pipeline.training.checkpoint import RunFile
from pipeline.training.targets import probabilities, settle_task

Volume = NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """What a network says of one scan."""

    probs: NDArray[np.float64]
    """(K,), in the order of the classes."""
    embeddings: tuple[NDArray[np.float32], ...]
    """The mean of each stage's map, (C_i,) each, finest stage first."""


class TrainedRun:
    """A trained network with everything needed to use it."""

    threshold: float | None = None
    """One fold alone gives probabilities; what is called is decided when it is evaluated."""

    def __init__(self, content: RunFile, path: Path) -> None:
        self.path = path
        self.sha256 = sha256(path)
        self.config = Config.model_validate(content.config)
        self.plan = Plan.model_validate(content.plan)
        self.classes = content.classes
        self.data_hash = content.data_hash
        self.task = settle_task(self.config.cohort, self.classes)
        self.network = build_network(
            self.config.model, num_classes=len(self.classes), in_channels=self.plan.in_channels, pretrained=False
        )
        missing, unexpected = self._load(content)
        if missing or unexpected:
            raise ValueError(
                f"{path}: its weights are not those of model '{self.config.model.name}': "
                f"missing {missing[:3] or 'none'}, unexpected {unexpected[:3] or 'none'}; train again."
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.eval().to(self.device)

    @classmethod
    def load(cls, path: Path) -> "TrainedRun":
        """Read best.ckpt; weights only, nothing in it is executed."""
        return cls(RunFile.read(path), path)

    def _load(self, content: RunFile) -> tuple[list[str], list[str]]:
        try:
            keys = self.network.load_state_dict(dequantise_weights(content.state_dict), strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[1].strip()
            raise ValueError(f"{self.path}: its weights do not fit its own config ({reason}); train again.") from None
        return list(keys.missing_keys), list(keys.unexpected_keys)

    @property
    def columns(self) -> Columns:
        """Of the table that it was trained from."""
        return self.config.cohort.columns

    def prepare(self, scan: ScanFiles | Path) -> Prepared:
        """A raw scan as this run's network sees it, by the function that prepared the training scans."""
        return preprocess_scan(scan, self.plan)

    def network_input(self, volume: Volume) -> Tensor:
        """One prepared volume (C, D, H, W) as a batch of one, after what the fold has learned of intensities."""
        matched = np.array(volume, np.float32, order="C")
        to_standards(matched, self.plan.standards)
        return torch.from_numpy(matched)[None].to(self.device)

    @torch.inference_mode()
    def predict(self, volume: Volume) -> Prediction:
        """One prepared volume (C, D, H, W) -> class probabilities and stage embeddings.

        One at a time, so that a probability does not depend on which scans it was computed beside.
        """
        stages, logits = self.network.forward_stages(self.network_input(volume))
        embeddings = tuple(stage.float().flatten(2).mean(2)[0].cpu().numpy() for stage in stages)
        return Prediction(probabilities(logits.double(), self.task)[0].cpu().numpy(), embeddings)

    def predict_all(self, volumes: Iterable[Volume]) -> Iterator[Prediction]:
        return (self.predict(volume) for volume in volumes)
