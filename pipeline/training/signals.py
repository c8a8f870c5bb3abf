"""Ctrl-C and SIGTERM: finish the current update, save, say how to resume, and exit."""

import logging
import signal
from collections.abc import Callable
from types import FrameType

from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)
SIGNAL_EXIT_CODE = 128
"""Plus the number of the signal, as in shells: 130 after Ctrl-C, 143 after SIGTERM."""


class GracefulShutdown(Callback):
    """Call `save(trainer)` and exit after the update during which a signal arrived.

    A second Ctrl-C takes effect at once, and loses the updates since the last epoch. This callback acts after all those
    whose state is saved.
    """

    def __init__(self, save: Callable[[Trainer], None]) -> None:
        self.save = save
        self.requested: int | None = None
        """The number of the signal that arrived."""
        self.num_updates = 0
        self._earlier: dict[int, Callable | int | None] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before Lightning installs its own handlers, which it removes before `teardown`.
        self._earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now, in place of Lightning's handlers, which would end the process in the middle of an epoch.
        self.num_updates = trainer.global_step
        for number in self._earlier:
            signal.signal(number, self.request)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def request(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        if self.requested == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = number
        log.warning("%s: stopping after this update", signal.Signals(number).name)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        has_updated = trainer.global_step > self.num_updates
        self.num_updates = trainer.global_step
        # Between two updates gradients are partly accumulated; after an epoch's last update its validation follows.
        if self._is_requested(trainer) and has_updated and not trainer.is_last_batch:
            self.save(trainer)
            self._exit(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_finished = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        if self._is_requested(trainer) and not is_finished:
            self._exit(trainer)

    def _is_requested(self, trainer: Trainer) -> bool:
        """Every process must stop at the same update, whichever of them received the signal."""
        return trainer.strategy.reduce_boolean_decision(self.requested is not None, all=False)

    def _exit(self, trainer: Trainer) -> None:
        log.warning(
            "stopped in epoch %d of %d, after %d updates, and saved everything; the same command resumes from there.",
            trainer.current_epoch + 1, trainer.max_epochs, trainer.global_step,
        )  # fmt: skip
        raise SystemExit(SIGNAL_EXIT_CODE + (self.requested or signal.SIGTERM))
