"""Staged unfreezing: the head learns first, then one part more every few epochs, from the head towards the stem."""

from lightning import Callback, LightningModule, Trainer


class Unfreeze(Callback):
    """Let one more of the network's parts learn every `every` epochs (arXiv:1801.06146).

    What is locked keeps its batch norms' statistics too. Which parts learn follows from the epoch alone, so a resumed
    run needs no state for it.
    """

    def __init__(self, every: int) -> None:
        self.every = every

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lock(trainer, pl_module)

    def _lock(self, trainer: Trainer, pl_module: LightningModule) -> None:
        num_parts = len(pl_module.network.layer_groups())
        learning = min(num_parts, 1 + trainer.current_epoch // self.every)
        pl_module.network.lock(unlocked_groups=learning, freeze_bn_stats=True)
