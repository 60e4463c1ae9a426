"""How near videos are to the real walks of their prompts, by features of frames. Axes: n frames, d features.

Two measures that a blur does not win, as consistencies and smoothness do: `kid`, between all videos of a method and all
walks, and `likeness`, of each video to the walk of its own prompt rather than to the others'.
"""

from collections.abc import Mapping, Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

KID, LIKENESS = "kid", "likeness"
LEAST_LEVELS = 3
"""Below which leaving one out leaves no pair of levels."""


class Nearness:
    """Measures videos against the walks of their prompts."""

    def __init__(self, *, real: Mapping[int, Tensor], others: Mapping[int, Tensor], groups: Sequence[str]) -> None:
        """Take features of frames.

        Args:
            real: n d of the walk of each prompt, by its number.
            others: n d of further real walks, which only help to say what all frames have in common; empty for none.
            groups: of each prompt the level; walks of one level are alike.
        """
        self.real, self.groups = real, groups
        self.centre = torch.stack([each.double().mean(dim=0) for each in (*real.values(), *others.values())]).mean(0)

    def values(self, made: Mapping[int, Tensor]) -> dict[int, dict[str, float | None]]:
        """Both measures of each video; made: features n d of the video of each prompt, by its number."""
        numbers = [number for number in sorted(made) if number in self.real]
        if not numbers:
            return {}
        videos, walks = ([side[number].double() for number in numbers] for side in (made, self.real))
        groups = [self.groups[number] for number in numbers]
        columns = kid_parts(videos, walks, groups), likenesses(videos, walks, groups, self.centre)
        return {number: {KID: a, LIKENESS: b} for number, a, b in zip(numbers, *columns, strict=True)}


def kid_parts(made: Sequence[Tensor], real: Sequence[Tensor], groups: Sequence[str]) -> list[float | None]:
    """Kernel distance between videos and walks; 0 on average where both come from the same source, else above.

    The squared maximum mean discrepancy with KID's kernel (x·y / d + 1)³, unbiased however few videos there are, where
    a Fréchet distance of 1280 features and a few hundred frames is mostly bias. Frames of a level are alike, and a
    video and the walk of its prompt belong together, so that levels are what is independent: only pairs of different
    levels count, in each of the three terms. It can fall below 0 by chance.

    Returns:
        One value a video: what its level adds to the distance (jackknife pseudo-values). Their mean is the distance
        where levels hold as many videos each, and levels drawn again give its interval. None below three levels.

    Source: Bińkowski et al. 2018, KID; Gretton et al. 2012, eq. 4, whose pairs are levels here (our choice).
    """
    names = sorted(set(groups))
    if len(names) < LEAST_LEVELS:
        return [None] * len(groups)
    x, y = ([_of_level(side, groups, name) for name in names] for side in (made, real))
    mixed = _kernel_means(x, y)
    parts = dict(zip(names, pseudo_values(_kernel_means(x, x) + _kernel_means(y, y) - mixed - mixed.T), strict=True))
    return [parts[group] for group in groups]


def _of_level(side: Sequence[Tensor], groups: Sequence[str], name: str) -> Tensor:
    return torch.cat([each for each, group in zip(side, groups, strict=True) if group == name])


def _kernel_means(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    """Means of the kernel over frames of every pair of levels."""
    return torch.stack([torch.stack([((a @ b.T / a.shape[1] + 1) ** 3).mean() for b in other]) for a in one])


def pseudo_values(terms: Tensor) -> list[float]:
    """Of the mean over all pairs of two different levels, n times the whole minus n − 1 times what is left without one.

    terms: of each pair of n levels, symmetric; the diagonal does not count.
    """
    number = len(terms)
    terms = terms * (1 - torch.eye(number, dtype=terms.dtype))
    whole = terms.sum() / (number * (number - 1))
    without = (terms.sum() - 2 * terms.sum(dim=1)) / ((number - 1) * (number - 2))
    return (number * whole - (number - 1) * without).tolist()


def likenesses(
    made: Sequence[Tensor], real: Sequence[Tensor], groups: Sequence[str], centre: Tensor
) -> list[float | None]:
    """How much more each video is like the walk of its own prompt than like those of other levels.

    Likeness is the mean cosine over all pairs of a frame of the video and one of the walk, once the mean over all real
    frames is taken away: a correlation, from -1 to 1. The video's with its own walk, minus the mean of those with the
    other levels' walks: 0 for a video that shows the same whatever its prompt, blurred or not. None without others.

    Source: our choice.
    """
    ours, theirs = (
        torch.stack([functional.normalize(each - rearrange(centre, "d -> 1 d"), dim=1).mean(dim=0) for each in side])
        for side in (made, real)
    )
    cosines = ours @ theirs.T
    found: list[float | None] = []
    for place, group in enumerate(groups):
        away = [other for other, name in enumerate(groups) if name != group]
        found.append(float(cosines[place, place] - cosines[place, away].mean()) if away else None)
    return found
