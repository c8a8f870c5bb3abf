"""Time batches from the store against MONAI's PersistentDataset, and how long a training step waits for its batch.

    python benchmarks/loading.py

Prints a table and, as its last line, one JSON object; some minutes in all.
"""

import sys
import tempfile
import time
import warnings
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.timing import Ratio, in_turn, report  # noqa: E402
from pipeline.data.augmentation.pipeline import augmentation_transforms  # noqa: E402
from pipeline.data.augmentation.registry import AugmentationSettings  # noqa: E402
from pipeline.data.datamodule import ScanDataModule  # noqa: E402
from pipeline.models import build_model  # noqa: E402
from pipeline.store.store import Store  # noqa: E402

SHAPE, NUM_SCANS, BATCH_SIZE, REPEATS, STEPS = (64, 64, 48), 64, 4, 5, 13
AUGMENT = augmentation_transforms(
    AugmentationSettings(strength="strong", spacing_mm=(1.0, 1.0, 1.0), flip_axis=2, is_mr=True)
)


def make_scans(folder: Path) -> tuple[Store, pd.DataFrame, list[np.ndarray]]:
    """The same volumes in the store and in memory."""
    store, rng, arrays = Store(folder), np.random.default_rng(0), []
    for number in range(NUM_SCANS):
        array = rng.normal(size=(1, *SHAPE)).astype(np.float32)
        store.write(f"s{number}", array, np.eye(4), source_sha256="", plan_sha256="", code_sha256="")
        arrays.append(store.read(f"s{number}")[0])
    names = [f"s{number}" for number in range(NUM_SCANS)]
    return store, pd.DataFrame({"scan_id": names, "label": np.arange(NUM_SCANS) % 2}), arrays


def persistent_loader(folder: Path, arrays: list[np.ndarray]) -> DataLoader:
    """MONAI's cache on disk, filled, of the same float32 tensors."""
    from monai.data import PersistentDataset
    from monai.transforms import Transform

    class Load(Transform):
        """A transform of MONAI's own kind: what a bare function returns is not cached."""

        def __call__(self, item: dict[str, int]) -> dict[str, torch.Tensor | int]:
            return {"image": torch.from_numpy(arrays[item["index"]]), "label": item["index"] % 2}

    dataset = PersistentDataset([{"index": index} for index in range(NUM_SCANS)], [Load()], cache_dir=folder)
    return DataLoader(dataset, BATCH_SIZE, shuffle=True)


def one_epoch(loader: DataLoader) -> int:
    return sum(len(batch["image"]) for batch in loader)


def waiting_share(data: ScanDataModule) -> tuple[float, float]:
    """Seconds a step waits for its batch and seconds it computes, for a 3D PoolFormer s12; the first steps warm up."""
    network = build_model("poolformer_s12", spatial_dims=3, in_channels=1, num_classes=2)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4)
    waits, computes = [], []
    batches = islice((batch for loader in cycle([data.train_dataloader()]) for batch in loader), STEPS)
    asked = time.perf_counter()
    for batch in batches:
        received = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(network(batch["image"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        waits.append(received - asked)
        computes.append(time.perf_counter() - received)
        asked = time.perf_counter()
    return float(np.sum(waits[3:])), float(np.sum(computes[3:]))


def main() -> None:
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        store, table, arrays = make_scans(Path(name) / "store")
        plain = ScanDataModule(store, train=table, val=table, batch_size=BATCH_SIZE)
        augmented = ScanDataModule(store, train=table, val=table, batch_size=BATCH_SIZE, augment=AUGMENT)
        helped = ScanDataModule(store, train=table, val=table, batch_size=BATCH_SIZE, augment=AUGMENT, num_workers=2)
        persistent = persistent_loader(Path(name) / "cache", arrays)
        ours, with_augmentation = plain.train_dataloader(), augmented.train_dataloader()
        seconds = in_turn(
            REPEATS,
            epoch=lambda: one_epoch(ours),
            epoch_persistent_dataset=lambda: one_epoch(persistent),
            epoch_augmented=lambda: one_epoch(with_augmentation),
        )
        waited, computed = waiting_share(helped)
    seconds["augmentation_per_scan"] = (seconds["epoch_augmented"] - seconds["epoch"]) / NUM_SCANS
    seconds["step"], seconds["wait_per_step"] = computed / (STEPS - 3), waited / (STEPS - 3)
    report(
        "loading",
        seconds,
        [
            Ratio("batches_vs_persistent_dataset", seconds["epoch_persistent_dataset"] / seconds["epoch"], at_least=3),
            Ratio("waiting_share_of_step", waited / (waited + computed), at_most=0.05),
        ],
    )


if __name__ == "__main__":
    main()
