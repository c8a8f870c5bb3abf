"""What every part of a config is made of: the strict base class, and the types of single values."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt

Auto = Literal["auto"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Millimetres = tuple[PositiveFloat, PositiveFloat, PositiveFloat]
Voxels = tuple[PositiveInt, PositiveInt, PositiveInt]
FoldName = NonNegativeInt | Annotated[str, Field(pattern=r"^\d+-seed-\d+$")]
TAGS = ("kind", "scheme")
"""Keys whose value chooses one of several sections."""


class Section(BaseModel):
    """A part of a config: frozen, and without room for unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())
