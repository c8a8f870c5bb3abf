"""Ctrl-C and SIGTERM: finish the update at hand, save, say how to go on, and end."""

import logging
import signal
from collections.abc import Callable
from types import FrameType

from lightning import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)
EXIT_CODE = 128
"""Plus the signal's number, as shells have it: 130 after Ctrl-C, 143 after SIGTERM."""


class GracefulShutdown(Callback):
    """Call `save(trainer)` and exit after the update during which a signal came.

    A second Ctrl-C is heeded at once, and loses what came after the last epoch. In the list of callbacks it stands
    after all whose state is to be saved.
    """

    def __init__(self, save: Callable[[Trainer], None]) -> None:
        self.save = save
        self.asked: int | None = None
        self.num_updates = 0
        self._earlier: dict[int, Callable | int | None] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before Lightning sets its own, which it takes back before `teardown`: restored there, they would stay.
        self._earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only now, in the place of Lightning's handlers, which would end the process in the middle of an epoch.
        self.num_updates = trainer.global_step
        for number in self._earlier:
            signal.signal(number, self.ask)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)
        self._earlier = {}

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        if self.asked == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = number
        log.warning("%s: stopping after this update", signal.Signals(number).name)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        has_updated = trainer.global_step > self.num_updates
        self.num_updates = trainer.global_step
        # Between two updates gradients are half summed; after an epoch's last one its validation is still to come.
        if self._is_asked(trainer) and has_updated and not trainer.is_last_batch:
            self.save(trainer)
            self._leave(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        is_over = trainer.should_stop or trainer.current_epoch + 1 >= trainer.max_epochs
        if self._is_asked(trainer) and not is_over:
            self._leave(trainer)

    def _is_asked(self, trainer: Trainer) -> bool:
        """Every process must stop at the same update, whichever of them the signal reached."""
        return trainer.strategy.reduce_boolean_decision(self.asked is not None, all=False)

    def _leave(self, trainer: Trainer) -> None:
        log.warning(
            "stopped in epoch %d of %d, after %d updates, all of it saved; the same command goes on from there.",
            trainer.current_epoch + 1, trainer.max_epochs, trainer.global_step,
        )  # fmt: skip
        raise SystemExit(EXIT_CODE + (self.asked or signal.SIGTERM))
