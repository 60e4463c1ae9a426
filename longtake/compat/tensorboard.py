"""TensorBoard's writer in PyTorch, tested on torch 2.11.0 and 2.14.1 with tensorboard 2.19.0 and 2.21.0."""

from typing import Any


def add_summary(writer: Any, summary: Any, step: int) -> None:
    """Writes a summary made by hand, for which SummaryWriter has no public method.

    Args:
        writer: a torch.utils.tensorboard.SummaryWriter.
        summary: a Summary of TensorBoard's protocol.
        step: step of the training.
    """
    writer._get_file_writer().add_summary(summary, step)
