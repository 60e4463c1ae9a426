"""A signal in the middle of a run, by a callback that is named by its path."""

import os
import time

from lightning import Callback

PLANTED = "+callbacks.bomb._target_=bombs.Bomb"


class Bomb(Callback):
    """Sends a signal to its own process where a batch begins, as a scheduler may at any time."""

    def __init__(self, *, batch: int, number: int, rank: int = 0, twice_after: float = 0) -> None:
        self.batch, self.number, self.rank, self.twice_after = batch, number, rank, twice_after

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx != self.batch or trainer.global_rank != self.rank:
            return
        os.kill(os.getpid(), self.number)
        if self.twice_after:
            print("asked", flush=True)
            time.sleep(self.twice_after)
            os.kill(os.getpid(), self.number)
            time.sleep(60)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.batch < 0:
            os.kill(os.getpid(), self.number)


def bomb(batch, number, **more):
    keys = {"batch": batch, "number": int(number), **more}
    return [PLANTED, *(f"+callbacks.bomb.{key}={value}" for key, value in keys.items())]
