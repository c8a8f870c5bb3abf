"""Section `model`: the network."""

from typing import Any

from pydantic import model_validator

from pipeline.config.section import Section


class Model(Section):
    """Which network."""

    name: str
    """A registered model; `python -m pipeline.models` lists them. auto: the plan's, with all that goes with it."""
    volume: str | dict[str, Any] | None = None
    """How a 2D network sees a volume (slicewise, slab, triplanar, stage_grid, acs, inflate), with its options."""
    pretrained: str | None = None
    """encoder:NAME of configs/encoders, local file, package:NAME/FILE of an installed one, URL#sha256= or timm:NAME."""
    allow_missing: tuple[str, ...] = ()
    """Parts whose pretrained weights may be missing or of another shape, by name."""
    freeze: bool = False
    """Keep the features as they are, compute them once, and fit a logistic head on them."""
    lora: dict[str, Any] | None = None
    """Low-rank updates of a frozen network: rank, alpha, drop_rate, targets."""
    mask_channels: tuple[str, ...] = ()
    """Channels to make from a mask, in its place: mask, distance (to its surface), thickness."""
    options: dict[str, Any] = {}
    """Options of that network, such as depths or drop_path_rate."""

    @property
    def learns_by_gradient(self) -> bool:
        """Not where all features are constants under a logistic head."""
        return not self.freeze or self.lora is not None

    @model_validator(mode="after")
    def _auto_alone(self) -> "Model":
        given = self.model_fields_set - {"name"}
        if self.name == "auto" and given:
            raise ValueError(f"name auto decides the whole model, got {', '.join(sorted(given))} beside it")
        return self
