"""Transforms that a config adds by name: any of MONAI's array transforms, or the user's own.

Names are resolved against `monai.transforms` and arguments against the constructor's signature. Nothing is evaluated,
and a module of the user's own is imported only if a local config names it.
"""

import importlib
import inspect
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import monai.transforms as catalog
import torch
from monai.transforms import Compose, InvertibleTransform, MapTransform, RandomizableTrait, Transform

from pipeline.config.transform_spec import TransformSpec
from pipeline.core.errors import did_you_mean

NOT_BY_NAME = {
    **dict.fromkeys(("LoadImage", "SaveImage", "WriteFileMapping"), "reads or writes files"),
    **dict.fromkeys(("Lambda", "RandLambda", "SimulateDelay", "RandSimulateDelay"), "takes code, or does nothing"),
}
"""Array transforms that a config may not name, with the reason."""


class OnImage(MapTransform, InvertibleTransform):
    """An array transform on one image of a sample, inverted where it can be; it must keep the image's shape."""

    def __init__(self, key: Hashable, transform: Transform) -> None:
        super().__init__(key)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        for key in self.key_iterator(sample):
            sample[key] = keep_shape(self.transform, sample[key])
        return sample

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        sample = dict(data)
        if isinstance(self.transform, InvertibleTransform):
            for key in self.key_iterator(sample):
                sample[key] = self.transform.inverse(sample[key])
        return sample


def keep_shape(transform: Transform, image: torch.Tensor) -> torch.Tensor:
    """Apply an extra transform; `ValueError` if the image comes back in another shape."""
    changed = transform(image)
    if changed.shape != image.shape:
        raise ValueError(
            f"{type(transform).__name__} changes the shape of the image from {tuple(image.shape)} to "
            f"{tuple(changed.shape)}, expected the same shape; use the plan's spacing_mm, size_voxels and crop instead."
        )
    return changed


def deterministic(specs: Sequence[TransformSpec], own_modules: frozenset[str]) -> list[Transform]:
    """The transforms of `preprocess.extra`, none of which may be random: stored scans are the same each time."""
    transforms = build_extra(specs, own_modules, where="preprocess.extra")
    for spec, transform in zip(specs, transforms, strict=True):
        if isinstance(transform, RandomizableTrait):
            raise ValueError(
                f"preprocess.extra: {spec.name} is random, expected a transform that gives the same image each time; "
                "name it under augmentation.extra of an experiment."
            )
    return transforms


def not_invertible(specs: Sequence[TransformSpec], own_modules: frozenset[str]) -> list[str]:
    """Names of the transforms of `preprocess.extra` that `Compose.inverse` passes over."""
    transforms = deterministic(specs, own_modules)
    return [
        spec.name
        for spec, transform in zip(specs, transforms, strict=True)
        if not isinstance(transform, InvertibleTransform)
    ]


def own_names(specs: Sequence[TransformSpec]) -> frozenset[str]:
    """The dotted paths among the names: code of the user's own, which a local config allows by naming it."""
    return frozenset(spec.name for spec in specs if "." in spec.name)


def build_extra(specs: Sequence[TransformSpec], own_modules: frozenset[str], *, where: str) -> list[Transform]:
    """One transform for each entry; `ValueError` names the entry, and the nearest name or argument."""
    return [build(spec, own_modules, where=f"{where}[{index}]") for index, spec in enumerate(specs)]


def build(spec: TransformSpec, own_modules: frozenset[str], *, where: str) -> Transform:
    found = own_class(spec.name, own_modules, where) if "." in spec.name else monai_class(spec.name, where)
    check_arguments(found, spec, where)
    try:
        return found(**spec.arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{where}: {spec.name} rejects its arguments {spec.arguments}: {error}") from None


def monai_class(name: str, where: str) -> type[Transform]:
    """An array transform of `monai.transforms`."""
    if name in NOT_BY_NAME:
        raise ValueError(f"{where}: {name} {NOT_BY_NAME[name]}, so a config may not name it.")
    known = array_transforms()
    if name not in known:
        base = name.removesuffix("Dict").removesuffix("D").removesuffix("d")
        hint = f" Use '{base}': it is applied to the image." if base in known else did_you_mean(name, known)
        raise ValueError(
            f"{where}: unknown transform '{name}'.{hint} Known are the array transforms of monai.transforms, and "
            "module.path.Class of your own."
        )
    return known[name]


def array_transforms() -> dict[str, type[Transform]]:
    """The classes of `monai.transforms` that map an array to an array, by name."""
    classes = {name: value for name, value in vars(catalog).items() if inspect.isclass(value)}
    return {
        name: found
        for name, found in classes.items()
        if issubclass(found, Transform) and not issubclass(found, MapTransform | Compose) and name not in NOT_BY_NAME
    }


def own_class(path: str, own_modules: frozenset[str], where: str) -> type[Transform]:
    """A transform of the user's own, imported only if its path is in `own_modules`."""
    if path not in own_modules:
        raise ValueError(
            f"{where}: '{path}' is code of your own, which is never imported because a checkpoint names it; "
            f"allow it with --own-transforms {path} if you trust it."
        )
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{where}: no transform '{path}' ({error}); expected module.path.Class.") from None
    if not callable(found):
        raise ValueError(f"{where}: '{path}' is {type(found).__name__}, expected a class whose objects are callable.")
    return found


def check_arguments(found: type[Transform], spec: TransformSpec, where: str) -> None:
    """Every argument is one that the constructor names, and none that it requires is missing."""
    parameters = list(inspect.signature(found).parameters.values())
    known = [parameter.name for parameter in parameters if parameter.kind not in (parameter.VAR_KEYWORD,)]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    for name in spec.arguments:
        if name not in known and not takes_any:
            raise ValueError(
                f"{where}: {spec.name} has no argument '{name}'.{did_you_mean(name, known)} "
                f"Known: {', '.join(known) or 'none'}."
            )
    required = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if missing := [name for name in required if name not in spec.arguments]:
        raise ValueError(f"{where}: {spec.name} needs {', '.join(missing)}; give it beside the name.")
