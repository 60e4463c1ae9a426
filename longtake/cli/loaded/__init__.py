"""Weights as the studio asks for them: `generate.py` with and without a storyboard, a call at a time."""

from longtake.cli.loaded.opening import open_weights, score_videos

__all__ = ["open_weights", "score_videos"]
