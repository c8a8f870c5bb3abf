"""Failures of a training run, reported with the settings that would avoid them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.config import Training

OUT_OF_MEMORY_PHRASES = ("out of memory", "can't allocate memory", "not enough memory")


@contextmanager
def explain_oom(training: Training) -> Iterator[None]:
    """Turn an out-of-memory error into a ValueError that says what to change; other errors pass through."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker" in str(error):
            raise ValueError(
                f"training: a loader process died ({str(error).splitlines()[0]}), most often for memory; set "
                f"training.num_workers below {training.num_workers}, or 0."
            ) from error
        if not is_out_of_memory(error):
            raise
        raise ValueError(format_out_of_memory(training)) from error


def is_out_of_memory(error: Exception) -> bool:
    """Did the machine or an accelerator run out of memory? torch has no single exception type for it."""
    is_typed = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_typed or any(phrase in str(error) for phrase in OUT_OF_MEMORY_PHRASES)


def format_out_of_memory(training: Training) -> str:
    """The message of the ValueError."""
    half, twice = max(1, training.batch_size // 2), training.accumulate * 2
    smaller = f"training.batch_size={half} training.accumulate={twice} (the same updates, except for batch norm), "
    thriftier = "training.precision=bf16-mixed, " if training.precision != "bf16-mixed" else ""
    return (
        f"training: out of memory with batches of {training.batch_size}; try "
        f"{smaller if training.batch_size > 1 else ''}{thriftier}a smaller preprocess.size_voxels, or a smaller model."
    )


def format_not_finite(problem: str, scan_ids: list[str]) -> str:
    """The message for a loss or gradient that is NaN or infinite: the run diverged, or a scan is broken."""
    return (
        f"training: {problem} on scans {', '.join(scan_ids)}, expected a finite number; inspect those scans if this is "
        "the first epoch, else lower training.learning_rate or raise training.warmup_fraction."
    )
