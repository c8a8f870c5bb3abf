"""The strict base class of every section of a config, and the types of single values."""

from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationInfo, model_validator

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Millimeters = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Voxels = tuple[PositiveInt, PositiveInt, PositiveInt]
LARGEST = 2**31
"""No setting is so large, and many libraries count no further."""
TAGS = ("kind", "scheme")
"""Keys whose value chooses one of several sections."""


class Section(BaseModel):
    """A part of a config: frozen, and unknown keys are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="after")
    def _sensible_numbers(self) -> Self:
        for name, value in self:
            numbers = value if isinstance(value, tuple) else (value,)
            if any(isinstance(number, int) and abs(number) >= LARGEST for number in numbers):
                raise ValueError(f"{name}: expected whole numbers below {LARGEST:,}")
        return self

    @classmethod
    def alternatives(cls) -> tuple[type["Section"], ...]:
        """The sections that may stand where this one is declared; more than one if a registry extends it."""
        return (cls,)

    @classmethod
    def from_record(cls, content: dict[str, Any]) -> Self:
        """Validate what a run recorded, such as the config in a checkpoint.

        No plugin is imported for it, so a name that only a plugin registers is kept as it is instead of rejected.
        """
        return cls.model_validate(content, context=RECORD)


RECORD = {"is_record": True}
"""Context of validation for the record of a run."""


def is_record(info: ValidationInfo) -> bool:
    """Whether the record of a run is validated, rather than a config of the user's."""
    return bool(info.context and info.context.get("is_record"))


def is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def union_members(annotation: Any) -> list[Any]:
    """The types that a value may have: the members of a union, without `Annotated`; all alternatives of a section."""
    if get_origin(annotation) is Annotated:
        return union_members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for option in get_args(annotation) for member in union_members(option)]
    return list(annotation.alternatives()) if is_section(annotation) else [annotation]
