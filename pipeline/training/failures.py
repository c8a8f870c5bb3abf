"""Failures that a setting can mend, told with the setting."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.config import Training

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def explained(training: Training) -> Iterator[None]:
    """Turn a lack of memory into a ValueError that says what to change; anything else passes."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ValueError(out_of_memory(training)) from error


def is_out_of_memory(error: Exception) -> bool:
    """A lack of memory, of the machine or of an accelerator, for which torch has no one type."""
    is_typed = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_typed or any(words in str(error) for words in NO_MEMORY)


def out_of_memory(training: Training) -> str:
    half, twice = max(1, training.batch_size // 2), training.accumulate * 2
    smaller = f"training.batch_size={half} training.accumulate={twice} (the same updates, but for a batch norm's), "
    thriftier = "training.precision=bf16-mixed, " if training.precision != "bf16-mixed" else ""
    return (
        f"training: out of memory with batches of {training.batch_size}; try "
        f"{smaller if training.batch_size > 1 else ''}{thriftier}a smaller preprocess.size_voxels, or a smaller model."
    )
