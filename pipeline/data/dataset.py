"""Stored scans as samples and batches. Axes: B batch, C channels, D H W depth height width."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypedDict

import monai.data
import pandas as pd
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch import Tensor

from pipeline.core.columns import LABEL, SCAN_ID
from pipeline.core.errors import original_errors
from pipeline.data.rng import scan_seed
from pipeline.data.sampler import Key
from pipeline.imaging.intensity import Deciles, MatchHistogram
from pipeline.imaging.voxel_codes import Volume
from pipeline.store.nifti_entry import StoredVolume
from pipeline.store.store import Store

MAX_MAPPED = 16_384
"""Scans that stay mapped: an operating system allows a process some 65,000 maps."""


class Sample(TypedDict):
    """One scan."""

    image: MetaTensor
    """(C, D, H, W) float32, with the affine of its grid."""
    label: Tensor
    """() int64, index of the class; (K,) float32 of zeros and ones where several may be right."""
    scan_id: str
    index: int
    """Row in the table."""


class Batch(TypedDict):
    """What a network is fed."""

    image: Tensor
    """(B, C, D, H, W) float32."""
    label: Tensor
    """(B,) int64 or (B, K) float32."""
    scan_id: list[str]
    index: Tensor
    """(B,) int64, row in the table."""


class ScanDataset(monai.data.Dataset):
    """The stored scans of a table (columns scan_id, label as class index or tuple of zeros and ones).

    `dataset[i]` is a `Sample`; a data loader that asks for whole batches gets them decoded at once, to the same bits.
    Intensities are matched to `standards` if the fold has learned any. The random state of `augment` is set from seed,
    epoch and scan alone. Files are mapped once and stay mapped.
    """

    def __init__(
        self,
        store: Store,
        scans: pd.DataFrame,
        *,
        augment: Compose | None = None,
        seed: int = 0,
        standards: tuple[Deciles, ...] = (),
    ) -> None:
        random = [] if augment is None else list(augment.transforms)
        super().__init__(
            data=scans[[SCAN_ID, LABEL]].to_dict("records"),
            transform=Compose([*([MatchHistogram(standards)] if standards else []), *random]),
        )
        self.store = store
        self.scan_ids = scans[SCAN_ID].tolist()
        self.labels = torch.tensor(scans[LABEL].tolist())
        self.seed = seed
        self.mapped: dict[str, StoredVolume] = {}

    def __getstate__(self) -> dict[str, object]:
        """For loading processes, which map the files themselves."""
        return self.__dict__ | {"mapped": {}}

    def __getitem__(self, key: Key | int) -> Sample:
        """The sample of (epoch, index); an index alone is of epoch 0."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        scan_id = self.scan_ids[index]
        with readable_errors(scan_id, epoch), one_thread():
            entry = self.entry(scan_id)
            image = MetaTensor(torch.from_numpy(entry.decode()), affine=torch.from_numpy(entry.affine))
            image = self.apply_transform(image, epoch, scan_id)
        return Sample(image=image, label=self.labels[index], scan_id=scan_id, index=index)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these (epoch, index) keys; torch's DataLoader asks for whole batches by this name.

        Voxels are decoded from the map straight into the batch; nothing is copied before augmentation.
        """
        rows = torch.tensor([index for _, index in keys])
        first = self.entry(self.scan_ids[keys[0][1]])
        images = torch.empty((len(keys), *first.codes.shape))
        with one_thread():
            for target, (epoch, index) in zip(images, keys, strict=True):
                self.load_into(target, self.scan_ids[index], epoch)
        scan_ids = [self.scan_ids[index] for index in rows]
        return Batch(image=images, label=self.labels[rows], scan_id=scan_ids, index=rows)

    def load_into(self, target: Tensor, scan_id: str, epoch: int) -> None:
        """Write one scan, augmented, into `target` (C, D, H, W)."""
        with readable_errors(scan_id, epoch):
            self.entry(scan_id).decode(out=target.numpy())
            changed = self.apply_transform(target, epoch, scan_id)
            if changed is not target:
                target.copy_(changed)

    def apply_transform(self, image: Tensor, epoch: int, scan_id: str) -> Tensor:
        """The image after the transforms, whose random state is set first; it must keep its shape."""
        if not self.transform.transforms:
            return image
        self.transform.set_random_state(seed=scan_seed(self.seed, epoch, scan_id))
        with original_errors():
            changed = self.transform(image)
        if changed.shape != image.shape:
            raise ValueError(
                f"augmentation changed the shape of the image from {tuple(image.shape)} to {tuple(changed.shape)}, "
                "expected the same; take the transform out of augmentation.extra"
            )
        return changed

    def entry(self, scan_id: str) -> StoredVolume:
        """The stored scan, mapped at its first use."""
        found = self.mapped.get(scan_id) or self.store.entry(scan_id)
        if len(self.mapped) < MAX_MAPPED:
            self.mapped[scan_id] = found
        return found


def stored_images(store: Store, scan_ids: Iterable[str], standards: tuple[Deciles, ...] = ()) -> Iterator[Volume]:
    """The stored scans (C, D, H, W) as a network is fed them, one at a time, unaugmented."""
    names = list(scan_ids)
    dataset = ScanDataset(store, pd.DataFrame({SCAN_ID: names, LABEL: 0}), standards=standards)
    return (dataset[index]["image"].as_tensor().numpy() for index in range(len(names)))


@contextmanager
def readable_errors(scan_id: str, epoch: int) -> Iterator[None]:
    """What goes wrong with one scan names it."""
    try:
        yield
    except (ValueError, TypeError, RuntimeError, OSError) as error:
        raise ValueError(f"scan '{scan_id}', epoch {epoch}: it could not be loaded: {error}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Work on one thread, as loading processes do: sums and Fourier transforms round differently on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def collate(samples: Batch | Sequence[Sample]) -> Batch:
    """A batch as it is, or samples as a batch."""
    if isinstance(samples, dict):
        return samples
    return Batch(
        image=torch.stack([sample["image"].as_tensor() for sample in samples]),
        label=torch.stack([sample["label"] for sample in samples]),
        scan_id=[sample["scan_id"] for sample in samples],
        index=torch.tensor([sample["index"] for sample in samples]),
    )
