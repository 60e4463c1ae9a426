"""A storyboard as cards: what the page shows of a file, and the file that cards make."""

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from longtake.storyboard.schema import GivenVideo, Segment, Storyboard

VIDEO_FIELDS = ("role", "prompt", "num_frames")
CARD_FIELDS = (
    *("name", "prompt", "num_frames", "direction", "shot", "compression_ratio", "seed"),
    *("after", "before", "gap", "memory"),
)
"""What the page has a field for, in its order."""
LARGEST_SEED = 9999
"""Of seeds that the studio draws: short enough to be told to somebody."""


@dataclass(frozen=True)
class Card:
    """One segment as the page shows it; None and "" where the card says nothing.

    num_frames: pixel frames. latents: latent frames, of files that count in them. direction: one of DIRECTIONS, or ""
    for what follows from the places. after, before: names, or "none". gap: pixel frames of the shot that pass unseen.
    memory: "all", "none", or names with commas between. compression_ratio: video tokens a context token.
    """

    name: str
    prompt: str = ""
    num_frames: int | None = None
    latents: int | None = None
    shot: str = ""
    direction: str = ""
    compression_ratio: float | None = None
    seed: int = 0
    after: str = ""
    before: str = ""
    gap: int = 0
    memory: str = "all"

    def entry(self) -> dict[str, Any]:
        """The card as an entry of a storyboard's file, which names what the card says and nothing else."""
        said: dict[str, Any] = {"name": self.name}
        for key in ("prompt", "num_frames", "latents", "shot", "direction", "compression_ratio", "after", "before"):
            if (value := getattr(self, key)) not in (None, ""):
                said[key] = value
        said |= {"gap": self.gap} if self.gap else {}
        if self.memory.strip() not in ("all", ""):
            names = [name.strip() for name in self.memory.split(",") if name.strip()]
            said["memory"] = "none" if names == ["none"] else names
        return {**said, "seed": self.seed}


@dataclass(frozen=True)
class GivenCard:
    """A video of the user's that the take starts with, ends with, or keeps both ends of.

    path: relative to the storyboard's folder, or absolute. role: first, last or both. num_frames: how much of it is
    kept, None for one segment.
    """

    path: str
    role: str = "first"
    prompt: str = ""
    num_frames: int | None = None
    compression_ratio: float | None = None
    name: str = ""
    shot: str = ""

    def entry(self) -> dict[str, Any]:
        """The card as an entry of a storyboard's file."""
        said = {"path": self.path, "role": self.role}
        rest = ("prompt", "num_frames", "compression_ratio", "name", "shot")
        return {**said, **{key: getattr(self, key) for key in rest if getattr(self, key) not in (None, "")}}


@dataclass(frozen=True)
class Board:
    """All cards, with the segment_frames and the compression_ratio of cards that state none."""

    cards: tuple[Card, ...] = ()
    videos: tuple[GivenCard, ...] = ()
    segment_frames: int | None = None
    compression_ratio: float | None = None

    def text(self) -> str:
        """The storyboard's file, in YAML."""
        whole = {"segment_frames": self.segment_frames, "compression_ratio": self.compression_ratio}
        said: dict[str, Any] = {key: value for key, value in whole.items() if value is not None}
        if self.videos:
            said["video"] = [video.entry() for video in self.videos]
        said["segments"] = [card.entry() for card in self.cards]
        return yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=110)

    def changed(self, place: int, **values: Any) -> "Board":
        """The board with other values on the card at a place."""
        cards = list(self.cards)
        cards[place] = replace(cards[place], **values)
        return replace(self, cards=tuple(cards))

    def with_fields(self, values: Sequence[Any]) -> "Board":
        """The board with what stands in the page's fields: VIDEO_FIELDS of each video, then CARD_FIELDS of each card.

        Args:
            values: texts.

        Returns:
            The other board.

        Raises:
            ValueError: if they are not as many as these cards have, as of a page that shows older ones.
        """
        if len(values) != len(self.videos) * len(VIDEO_FIELDS) + len(self.cards) * len(CARD_FIELDS):
            raise ValueError("another window has changed the cards: this one shows them now")
        left = list(values)

        def taken(names: Sequence[str]) -> dict[str, Any]:
            return {name: left.pop(0) for name in names}

        said = [taken(VIDEO_FIELDS) for _ in self.videos]
        numbers = [{**each, "num_frames": number_in(each["num_frames"])} for each in said]
        videos = tuple(replace(video, **each) for video, each in zip(self.videos, numbers, strict=True))
        return replace(self, videos=videos, cards=tuple(_filled(card, taken(CARD_FIELDS)) for card in self.cards))

    def added(self) -> "Board":
        """The board with one more card at its end, which continues the last one."""
        names, number = {card.name for card in self.cards}, len(self.cards) + 1
        while f"part_{number}" in names:
            number += 1
        return replace(self, cards=(*self.cards, Card(f"part_{number}", seed=drawn_seed())))

    def removed(self, place: int) -> "Board":
        """The board without the card at a place."""
        return replace(self, cards=tuple(card for number, card in enumerate(self.cards) if number != place))

    def moved(self, place: int, by: int) -> "Board":
        """The board with a card moved; beyond an end it stays where it is."""
        other = place + by
        if not 0 <= other < len(self.cards):
            return self
        cards = list(self.cards)
        cards[place], cards[other] = cards[other], cards[place]
        return replace(self, cards=tuple(cards))

    def rerolled(self, place: int) -> "Board":
        """The board with another seed on the card at a place."""
        seed = self.cards[place].seed
        while seed == self.cards[place].seed:
            seed = drawn_seed()
        return self.changed(place, seed=seed)


def _filled(card: Card, said: dict[str, Any]) -> Card:
    """A card with what its fields say; a length in frames goes before one in latents."""
    numbers = {key: number_in(said[key]) for key in ("num_frames", "compression_ratio", "seed", "gap")}
    whole = {key: numbers[key] or 0 for key in ("seed", "gap")}
    latents = card.latents if numbers["num_frames"] is None else None
    return replace(card, **{**said, **numbers, **whole}, latents=latents)


def number_in(text: str) -> Any:
    """The number that stands in a field; None in an empty one; another text as it is, for the reader to refuse."""
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def drawn_seed() -> int:
    """A seed drawn at random."""
    return random.randint(0, LARGEST_SEED)


def board_of(storyboard: Storyboard, folder: Path) -> Board:
    """The cards of a file that was read; what they say makes the same segments.

    Args:
        storyboard: a storyboard in our own format, or in another that `read_storyboard` knows.
        folder: folder of the copy that the cards are written to, from which paths of videos are counted.

    Returns:
        The cards.
    """
    return Board(
        cards=tuple(_card(segment) for segment in storyboard.segments),
        videos=tuple(_given(video, folder) for video in storyboard.videos),
        segment_frames=storyboard.segment_frames,
        compression_ratio=storyboard.compression_ratio,
    )


def _card(segment: Segment) -> Card:
    ends = {"after": segment.after, "before": segment.before}
    memory = "all" if segment.memory is None else ", ".join(segment.memory) or "none"
    return Card(
        name=segment.name,
        prompt=segment.prompt,
        num_frames=segment.num_frames,
        latents=segment.latents,
        shot=segment.shot or "",
        direction=segment.direction or "",
        compression_ratio=segment.compression_ratio,
        seed=segment.seed,
        gap=segment.gap,
        memory=memory,
        **{key: name or ("none" if key in segment.lines else "") for key, name in ends.items()},
    )


def _given(video: GivenVideo, folder: Path) -> GivenCard:
    path = Path(os.path.abspath(video.path))
    inside = path.is_relative_to(folder.absolute())
    return GivenCard(
        path=path.relative_to(folder.absolute()).as_posix() if inside else str(path),
        role=video.role,
        prompt=video.prompt,
        num_frames=video.num_frames,
        compression_ratio=video.compression_ratio,
        name="" if video.name == video.role else video.name,
        shot=video.shot or "",
    )


def places_of(text: str) -> Mapping[str, Sequence[int]]:
    """The lines on which the cards of a file begin, from 1: of `segments` and of `video`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    found: dict[str, list[int]] = {"segments": [], "video": []}
    for key, value in root.value:
        if key.value in found:
            found[key.value] = [entry.start_mark.line + 1 for entry in value.value]
    return found


def card_at(text: str, line: int) -> tuple[str, int] | None:
    """The card that a line of the file belongs to: `segments` or `video` and its place; None for none."""
    starts = [(start, kind, place) for kind, lines in places_of(text).items() for place, start in enumerate(lines)]
    before = [each for each in sorted(starts) if each[0] <= line]
    return before[-1][1:] if before else None
