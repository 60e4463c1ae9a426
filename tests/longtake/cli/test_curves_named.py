"""Where a training says that its curves are, by its loggers."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger

from longtake.cli.results import where_curves_are


class Service(WandbLogger):
    """W&B's logger with a run that is given, without the service's library."""

    def __init__(self, run):
        self.run = run

    @property
    def experiment(self):
        return self.run


@pytest.mark.parametrize(
    ("loggers", "said"),
    [
        (["csv", "board"], "tensorboard --logdir 'RUN'"),
        (["csv"], "RUN/csv/metrics.csv"),
        (["csv", "online"], "https://wandb.ai/somebody/longtake/runs/1"),
        (["csv", "offline"], "wandb sync 'RUN/wandb/offline-run-1'"),
        ([], ""),
    ],
)
def test_the_command_is_that_of_a_logger_that_was_there(loggers, said, tmp_path):
    run = tmp_path / "a b"
    made = {
        "csv": lambda: CSVLogger(run, name="", version="csv"),
        "board": lambda: TensorBoardLogger(run, name="", version="tensorboard"),
        "online": lambda: Service(SimpleNamespace(url="https://wandb.ai/somebody/longtake/runs/1")),
        "offline": lambda: Service(SimpleNamespace(url=None, dir=str(run / "wandb" / "offline-run-1" / "files"))),
    }
    trainer = SimpleNamespace(loggers=[made[name]() for name in loggers])
    assert where_curves_are(trainer, Path(run)) == said.replace("RUN", str(run))
