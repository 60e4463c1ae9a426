"""Of several processes that meet the same error the first ends the others before these say it too."""

from lightning import Callback, LightningModule, Trainer

from longtake.compat.lightning import end_processes


class EndOthers(Callback):
    """Ends the processes that this one started as soon as it meets an error of the user, which all of them may meet.

    Other errors can be the echo of one that failed, whose exit status is waited for first.
    """

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lightning's hook."""
        if isinstance(exception, ValueError):
            end_processes(trainer)
