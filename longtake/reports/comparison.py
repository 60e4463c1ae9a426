"""Several folders of videos beside each other: means with intervals, and paired differences to the first folder."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeGuard

from longtake.reports.beside import Beside
from longtake.reports.intervals import interval
from longtake.reports.report_card import ReportCard, group_faults

FEWEST_GROUPS = 5
"""Independent pairs below which an interval says little. Source: our choice."""


class Estimate(NamedTuple):
    """A mean over videos, with the ends of its 95 % interval; videos: how many it is of, groups: of how many prompts.

    The ends are None where there is one group alone.
    """

    mean: float
    low: float | None
    high: float | None
    videos: int
    groups: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


class Comparison(NamedTuple):
    """Folders beside each other.

    cards: by name, in the order in which they were given; the first is what others are compared with.
    means: per metric and folder.
    differences: per metric and folder but the first: that folder's score minus the first one's, over videos that both
        have.
    notes: what a reader should know before comparing figures.
    """

    cards: Mapping[str, ReportCard]
    means: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Estimate]]
    notes: Sequence[str]

    @property
    def first(self) -> str:
        """Name of the folder that others are compared with."""
        return next(iter(self.cards))


def named_folders(videos: str | Sequence[str] | Mapping[str, str]) -> dict[str, Path]:
    """Folders of videos by the names that a report calls them.

    Args:
        videos: one folder, several, or several with names of one's own. A folder without a name is called by its
            last part or, where two would be called the same, by all that is typed.

    Returns:
        Folders by name, in order.

    Raises:
        ValueError: if a folder is named twice, or none is.
    """
    if isinstance(videos, Mapping):
        found = {str(name): Path(folder) for name, folder in videos.items()}
    else:
        typed = [videos] if isinstance(videos, str) else list(videos)
        short = [Path(folder).name for folder in typed]
        found = {
            name if name and short.count(name) == 1 else folder: Path(folder)
            for name, folder in zip(short, typed, strict=True)
        }
        if len(found) < len(typed):
            raise ValueError("videos=… names a folder twice: a comparison is of different folders")
    if not found:
        raise ValueError("videos=[] names no folder: give one, or several to compare them")
    places = [folder.absolute() for folder in found.values()]
    if len(set(places)) < len(places):
        raise ValueError("videos=… gives one folder two names: a comparison is of different folders")
    return found


def compare(cards: Mapping[str, ReportCard], files: Mapping[str, Mapping[str, Beside]]) -> Comparison:
    """Sets report cards beside each other.

    Videos of two folders are a pair where they have the same file name and, as far as both folders say it, the same
    prompt. Videos of one prompt are alike, so intervals draw whole prompts again. Source: our choice.

    Args:
        cards: report cards by the name of their folder; others are compared with the first.
        files: what lies beside the videos of each folder, by the same names.

    Returns:
        Means and differences with 95 % intervals.
    """
    first, *others = cards
    metrics = [name for name in cards[first].summary if any(card.summary[name]["videos"] for card in cards.values())]
    prompts = {name: {file: beside.prompt for file, beside in known.items()} for name, known in files.items()}
    scores = {name: {str(row["file"]): row for row in card.rows} for name, card in cards.items()}
    means: dict[str, dict[str, Estimate]] = {metric: {} for metric in metrics}
    differences: dict[str, dict[str, Estimate]] = {metric: {} for metric in metrics}
    paired = {name: _pairs(scores[first], scores[name], prompts[first], prompts[name]) for name in others}
    for metric in metrics:
        for name in cards:
            own = {file: row[metric] for file, row in scores[name].items()}
            if found := _estimate({file: value for file, value in own.items() if _is_score(value)}, prompts[name]):
                means[metric][name] = found
        for name in others:
            pairs = {
                file: theirs - ours
                for file in paired[name]
                if _is_score(theirs := scores[name][file][metric]) and _is_score(ours := scores[first][file][metric])
            }
            if found := _estimate(pairs, prompts[first]):
                differences[metric][name] = found
    return Comparison(cards, means, differences, _notes(cards, scores, prompts, paired))


def _is_score(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and math.isfinite(value)


def _pairs(
    one: Mapping[str, object],
    other: Mapping[str, object],
    prompts: Mapping[str, str | None],
    theirs: Mapping[str, str | None],
) -> list[str]:
    """Files that both folders have, unless they say that they show different prompts."""
    return [
        file
        for file in one
        if file in other and (None in (prompts.get(file), theirs.get(file)) or prompts[file] == theirs[file])
    ]


def _estimate(values: Mapping[str, float], prompts: Mapping[str, str | None]) -> Estimate | None:
    if not values:
        return None
    groups = [prompts.get(file) or file for file in values]
    mean, low, high = interval(list(values.values()), groups)
    count = len(set(groups))
    known = count > 1
    return Estimate(mean, low if known else None, high if known else None, len(values), count)


def _notes(
    cards: Mapping[str, ReportCard],
    scores: Mapping[str, Mapping[str, Mapping[str, object]]],
    prompts: Mapping[str, Mapping[str, str | None]],
    paired: Mapping[str, Sequence[str]],
) -> list[str]:
    first = next(iter(cards))
    notes = []
    for name, pairs in paired.items():
        shared = [file for file in scores[first] if file in scores[name]]
        other = len(shared) - len(pairs)
        if other:
            notes.append(
                f"{other} videos of {name} have the name of one of {first} but another prompt: they are no pair"
            )
        if not pairs:
            notes.append(f"{name} has no video in common with {first}, by name: no difference can be given")
            continue
        alone = len(scores[first]) + len(scores[name]) - 2 * len(shared)
        if alone:
            notes.append(f"{alone} videos are in {first} or in {name} alone: they count in means, not in differences")
        groups = len({prompts[first].get(file) or file for file in pairs})
        if groups < FEWEST_GROUPS:
            notes.append(
                f"{name} and {first} have {groups} prompts in common: intervals of so few are too narrow; "
                f"make videos of {FEWEST_GROUPS} prompts or more"
            )
        sizes = {
            tuple(scores[each][file][key] for key in ("height", "width", "frames", "fps"))
            for file in pairs
            for each in (first, name)
        }
        if len(sizes) > 1:
            notes.append(f"videos of {name} and {first} differ in size, length or rate, on which scores depend")
    for name, card in cards.items():
        notes += [f"{name}: {note}" for note in card.notes]
        notes += [f"{name}: not scored: {what} ({metric}): {why}" for what, metric, why in group_faults(card.skipped)]
    return notes
