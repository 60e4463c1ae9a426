"""Lightning, tested on 2.6.0 and 2.6.6: private members that a callback of ours needs."""

from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import AveragedModel


def average_of(callback: WeightAveraging) -> AveragedModel:
    """The averaged copy of the module that a fit has made; Lightning offers no public way to it.

    Raises:
        RuntimeError: before the fit has begun.
    """
    average = callback._average_model
    if average is None:
        raise RuntimeError("there is no average yet: it is made when a fit begins")
    return average
