"""Stand-ins for ids, and configs that name nobody's folders."""

import hashlib
from typing import Any

from pipeline.config import Config
from pipeline.training.keeping.places import without_places


def pseudonym(name: str, project: str) -> str:
    """A stable stand-in for an id: the same id has the same one throughout a project."""
    return hashlib.blake2s(name.encode(), key=project.encode()[:32], digest_size=6).hexdigest()


def public_config(config: Config) -> dict[str, Any]:
    """The resolved config without folders and files of this machine."""
    return without_places(config.model_dump(mode="json"))
