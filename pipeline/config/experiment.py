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
    label_smoothing: Fraction = 0.0
    """Cross-entropy towards the uniform distribution."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: each class counts the same in the loss."""
    clip_norm: PositiveFloat = 1.0
    """Largest gradient norm."""
    monitor: Literal["auroc", "loss"] = "auroc"
    """Validation figure that picks the best checkpoint."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Lightning's word for the arithmetic."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Where to train."""
    num_workers: NonNegativeInt = 0
    """Loading processes; the result does not depend on them."""


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
    ordered_classes: bool = False
    """Are more than two classes grades of one thing? Adds the quadratic kappa."""
    seed: NonNegativeInt = 0
    """Fixes the resamples."""


class Explanation(Section):
    """Attribution maps."""

    num_scans: NonNegativeInt = 4
    """Test scans to explain, the most confident right and wrong ones first."""
    method: Literal["occlusion", "gradcam"] = "gradcam"
    """Grad-CAM on the last stage that keeps at least four tokens an axis, or occlusion by patches, for any network."""


class Tracking(Section):
    """Weights & Biases."""

    mode: Literal["auto", "offline", "none"] = "auto"
    """auto: online with a key, else offline; none: the CSV history alone."""
    project: Name = "volumes"
    """W&B project."""
    log_images: bool = False
    """Let pixels leave the machine, and the report, which shows scans and their ids."""
