"""Section `training`: the loss, the optimizer and where they run."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.config.section import Auto, Fraction, Section


class Training(Section):
    """Training: loss, optimizer, length and hardware."""

    max_epochs: Auto | PositiveInt = "auto"
    """Passes over the training scans; auto: from the plan."""
    batch_size: Auto | PositiveInt = "auto"
    """Scans per step; auto: from the plan."""
    accumulate: Auto | PositiveInt = "auto"
    """Steps whose gradients are summed before an update; auto: from the plan."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9; norms and biases are not decayed."""
    learning_rate: PositiveFloat = 5e-4
    """Peak, reached after the warm-up, then a cosine down to 1 %."""
    weight_decay: NonNegativeFloat = 0.05
    """On matrices and kernels only."""
    warmup_fraction: Fraction = 0.1
    """Share of all updates in which the learning rate rises."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate for each part further from the head; 1: the same rate everywhere."""
    unfreeze_every: PositiveInt | None = None
    """Epochs after which one more part learns, the head first; null: all learn from the start."""
    loss: str = "auto"
    """auto: bce for several labels per scan, ordinal for grades, else cross-entropy."""
    loss_options: dict[str, Any] = {}
    """Options of that loss, such as gamma of focal."""
    label_smoothing: Fraction = 0.0
    """Moves the targets of any loss towards the uniform distribution."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class counts the same in the loss."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """balanced: each class as often in an epoch, which stays as long; scans of rare classes return."""
    deep_supervision: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None
    """Weight of a classifier on each of the four stages, finest first, beside the network's own with weight 1."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep a running mean of the weights that decays by this factor per update; 0: the weights."""
    quantization_aware: bool = False
    """Learn with weights rounded to eight bits, so that `python -m pipeline.quantize` costs nothing afterwards."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    monitor: Literal["auroc", "loss"] = "auroc"
    """Metric of the validation patients whose mean over three epochs picks the best checkpoint."""
    patience: Auto | PositiveInt | None = "auto"
    """Epochs without a better smoothed validation metric until training stops; auto: from the plan; null: never."""
    batch_norm: Literal["safe", "keep"] = "safe"
    """safe: under 8 images per step, group norm replaces batch norm, or training stops; keep: as the model has it."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's word for the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: PositiveInt = 1
    """Processes per machine, each with its own accelerator or share of the cores, and batch_size scans per step."""
    nodes: PositiveInt = 1
    """Machines; docs/cluster.md shows how they are started."""
    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How processes share the work: auto is ddp where there are several; fsdp also divides the weights."""
    compile: bool = False
    """Compile the network first; pays off on a GPU, and takes minutes on a CPU."""
    num_workers: NonNegativeInt = 0
    """Loading processes; the result does not depend on them."""

    @model_validator(mode="after")
    def _possible_pairs(self) -> "Training":
        if self.strategy == "fsdp":
            keys = ("ema_decay", "compile", "unfreeze_every", "deep_supervision", "quantization_aware")
            needy = ", ".join(key for key in keys if getattr(self, key))
            if needy or self.devices * self.nodes == 1:
                reason = f"whole ones are needed for {needy}" if needy else "there is one, by devices and nodes"
                raise ValueError(f"strategy 'fsdp' divides the weights between processes, and {reason}")
        if self.unfreeze_every and self.devices * self.nodes > 1:
            raise ValueError("unfreeze_every needs one process: others would wait for gradients of what does not learn")
        if self.compile and self.deep_supervision:
            raise ValueError("compile does not reach the stage maps that deep_supervision learns from; leave one out")
        return self
