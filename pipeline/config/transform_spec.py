"""A transform by name and arguments: an entry of `preprocess.extra` and `augmentation.extra`."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

EVALUATED = ("$", "@", "%")
"""First characters of strings that MONAI's own config parser would evaluate or look up."""


class TransformSpec(BaseModel):
    """`{name: RandGaussianNoise, prob: 0.2}`: a class of `monai.transforms`, or the dotted path of one's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """A class of monai.transforms, or module.path.Class of one's own from a local config."""

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's keyword arguments."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _nothing_to_evaluate(self) -> "TransformSpec":
        for key, value in {"name": self.name, **self.arguments}.items():
            for text in strings_in(value):
                if text.startswith(EVALUATED):
                    raise ValueError(
                        f"{key}: expected a plain value, got {text!r}; nothing in a config is evaluated, "
                        f"so {', '.join(EVALUATED)} may not come first"
                    )
        return self


def strings_in(value: Any) -> list[str]:
    """Every string in a nested value, keys included."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in strings_in(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in strings_in(part)]
    return []
