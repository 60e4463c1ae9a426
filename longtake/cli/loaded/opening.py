"""Which kind of weights a name stands for, and what the report card says of their videos."""

import copy
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from longtake.cli.loaded.one_video import OneVideo
from longtake.cli.loaded.segments import Segments
from longtake.cli.request import requested
from longtake.cli.weights import Take
from longtake.studio.session import Score
from longtake.studio.weights import LoadedWeights


def open_weights(cfg: DictConfig, name: str, output: Path) -> LoadedWeights:
    """Weights for the studio whose settings cfg holds; with a memory they make storyboards, else one video a card.

    Args:
        cfg: settings of the studio.
        name: name of the weights, or their folder.
        output: folder of the studio.

    Returns:
        The weights, as the studio asks for them.

    Raises:
        ValueError: if they cannot be loaded, or make no videos.
    """
    own = copy.deepcopy(cfg)
    own.weights, own.output, own.storyboard = name, str(output), str(output / "storyboard.yaml")
    request = requested(own)
    take = Take(request)
    if take.network.takes_segments and take.rollout.memory is not None:
        return Segments(request, take)
    return OneVideo(replace(request, storyboard=None, num_videos=1), take)


def score_videos(videos: Path, output: Path) -> list[Score]:
    """The means of a folder's report card, which `longtake.score` writes.

    Args:
        videos: the folder.
        output: folder of the report.

    Returns:
        A line for each metric that has a score.

    Raises:
        ValueError: if nothing can be scored.
    """
    from longtake.cli.evaluate import score

    card = score(videos, output=output)
    found = []
    for name, figures in card.summary.items():
        mean = figures["mean"]
        if isinstance(mean, float):
            better = figures["higher_is_better"]
            found.append(Score(name, mean, None if better is None else bool(better)))
    return found
