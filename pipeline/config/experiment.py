"""How a model is made and judged: the sections of `configs/*.yaml`."""

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pipeline.config.section import Auto, Fraction, Name, Section


class Model(Section):
    """Which network."""

    name: str
    """A registered model; `python -m pipeline.models` lists them. auto: the plan's, with all that goes with it."""
    volume: str | dict[str, Any] | None = None
    """How a 2D network sees a volume (slicewise, slab, triplanar, stage_grid, acs, inflate), with its options."""
    pretrained: str | None = None
    """Local file, package:NAME/FILE of an installed package, URL with #sha256=, or timm:NAME."""
    allow_missing: tuple[str, ...] = ()
    """Parts whose pretrained weights may be missing or of another shape, by name."""
    freeze: bool = False
    """Keep the features as they are, compute them once, and fit a logistic head on them."""
    lora: dict[str, Any] | None = None
    """Low-rank updates of a frozen network: rank, alpha, drop_rate, targets."""
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


class Augmentation(Section):
    """Random changes to training scans; each is a function of (seed, epoch, scan)."""

    strength: Auto | Literal["none", "light", "medium", "strong"] = "auto"
    """auto: the plan's, which is strong under 200 training patients, medium to 1,000, light above."""
    flip_left_right: Auto | bool = "auto"
    """auto: only where the cohort's laterality is irrelevant."""
    zoom: Auto | bool = "auto"
    """auto: only where size is not diagnostic."""
    random_crop: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Most that a scan is cut at one side of an axis and padded at the other, as a share of the axis; 0: off."""
    mixup: NonNegativeFloat = 0.0
    """Alpha of the Beta distribution by which two scans of a batch and their labels are blended; 0: off."""
    cutmix: NonNegativeFloat = 0.0
    """The same for a box of one scan pasted into another; 0: off."""


class Training(Section):
    """Optimisation."""

    max_epochs: Auto | PositiveInt = "auto"
    """Passes over the training scans; auto: from the plan."""
    batch_size: Auto | PositiveInt = "auto"
    """Scans a step; auto: from the plan."""
    accumulate: Auto | PositiveInt = "auto"
    """Steps whose gradients are summed before an update; auto: from the plan."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9; norms and biases are not decayed."""
    learning_rate: PositiveFloat = 5e-4
    """Peak, reached after the warm-up, then a cosine down to 1 %."""
    weight_decay: NonNegativeFloat = 0.05
    """On matrices and kernels only."""
    warmup_fraction: Fraction = 0.1
    """Share of all updates in which the rate rises."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate for each part further from the head; 1: the same rate everywhere."""
    unfreeze_every: PositiveInt | None = None
    """Epochs after which one more part learns, the head first; null: all learn from the start."""
    loss: Auto | Literal["cross_entropy", "focal", "logit_adjustment", "bce", "ordinal"] = "auto"
    """auto: bce for several labels a scan, ordinal for grades, else cross-entropy."""
    focal_gamma: NonNegativeFloat = 2.0
    """For loss focal: how fast a scan counts less, the surer the network is of it."""
    label_smoothing: Fraction = 0.0
    """Moves the targets of any loss towards the uniform distribution."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class counts the same in the loss."""
    sampling: Literal["shuffled", "balanced"] = "shuffled"
    """balanced: each class as often in an epoch, which stays as long; scans of rare classes return."""
    deep_supervision: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None
    """Weight of a classifier on each of the four stages, finest first, beside the network's own with weight 1."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Validate and keep a running mean of the weights that forgets by this factor an update; 0: the weights."""
    quantization_aware: bool = False
    """Learn with weights rounded to eight bits, so that `python -m pipeline.quantise` costs nothing afterwards."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    monitor: Literal["auroc", "loss"] = "auroc"
    """Validation figure that picks the best checkpoint."""
    patience: Auto | PositiveInt | None = "auto"
    """Epochs without a better smoothed validation figure until it stops; auto: planned with the epochs; null: never."""
    batch_norm: Literal["safe", "keep"] = "safe"
    """safe: under 8 images a step, batch norm gives way to group norm, or is refused; keep: as the model has it."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's word for the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    devices: PositiveInt = 1
    """Processes a machine, each with its own accelerator or share of the cores; each takes batch_size scans a step."""
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


class Evaluation(Section):
    """Figures from predictions.csv."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of every interval."""
    num_bootstrap: Annotated[int, Field(ge=100)] = 2000
    """Resamples of patients."""
    operating_point: Literal["youden", "sensitivity", "specificity", "cost"] = "youden"
    """How the threshold is chosen on validation; test never sees the choice."""
    operating_target: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """The sensitivity or specificity to keep, where that is what is asked for."""
    miss_cost: PositiveFloat = 1.0
    """How many false alarms a missed positive is worth, for the operating point `cost`."""
    patient_rule: Literal["mean", "max"] = "mean"
    """How the probabilities of a patient's scans become one."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of the positive class where the model would be used; adds predictive values at that share."""
    calibration_bins: Literal["equal_width", "equal_count"] = "equal_width"
    """Ten bins of the calibration error and curve: of equal width, or with equally many rows."""
    conformal_coverage: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    """Share of patients of each class whose conformal set shall hold their class."""
    intersections: tuple[tuple[str, ...], ...] = ()
    """Covariates to judge together as subgroups, such as [[sex, site]]."""
    seed: NonNegativeInt = 0
    """Fixes the resamples."""


class Explanation(Section):
    """Attribution maps."""

    num_scans: NonNegativeInt = 4
    """Test scans to explain, the most confident right and wrong ones first."""
    method: Literal["occlusion", "gradcam", "hirescam"] = "gradcam"
    """Grad-CAM on the last stage that keeps at least four tokens an axis; HiResCAM there, which weighs each place by
    itself and suits maxima; or occlusion by patches, for any network."""


class Tracking(Section):
    """Weights & Biases."""

    mode: Literal["auto", "offline", "none"] = "auto"
    """auto: online with a key, else offline; none: the CSV history alone."""
    project: Name = "volumes"
    """W&B project."""
    log_images: bool = False
    """Let pixels leave the machine, and the report, which shows scans; ids in it become pseudonyms."""
    panel_every: PositiveInt = 5
    """Epochs from one panel of sample slices to the next, where pixels may leave."""
    assumed_watts: PositiveFloat = 100.0
    """Draw of the machine while it trains, for the energy estimate."""
