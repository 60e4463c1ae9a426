"""What the page can do, without the page: cards, weights, plans, takes. One studio serves all browsers that open it."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from longtake.storyboard.schema import StoryboardError
from longtake.studio.cards import Board, Card, GivenCard, board_of, card_at
from longtake.studio.folder import Folder, Take
from longtake.studio.job import Job
from longtake.studio.weights import Attention, LoadedWeights, PlannedSegment, PlannedTake, Watch

log = logging.getLogger("longtake")


class Problem(NamedTuple):
    """What is wrong, in a sentence, and at which card: of `segments` or `video` by its place; "" for none."""

    sentence: str
    kind: str = ""
    place: int = 0


class Score(NamedTuple):
    """One line of a take's report card; higher_is_better: None where the metric only describes."""

    metric: str
    value: float
    higher_is_better: bool | None


class Studio:
    """The state of a studio; every change of the cards is on the disk before anything else happens."""

    def __init__(
        self,
        folder: Folder,
        *,
        open_weights: Callable[[str, Path], LoadedWeights],
        score: Callable[[Path, Path], list[Score]],
        first: Card,
    ) -> None:
        """Goes on with the cards that lie in the folder.

        Args:
            folder: open, so that it is this studio's alone.
            open_weights: function that loads weights by their name or folder, for an output folder.
            score: function that scores the videos of a folder, and writes the report into another one.
            first: the card that an empty studio begins with.
        """
        self.folder, self.job = folder, Job()
        self._open, self._score, self._first = open_weights, score, first
        self.weights: LoadedWeights | None = None
        self.board = Board((first,))
        self._text = self.board.text()
        self._speed: dict[str, float] = {}
        self._lock = threading.RLock()

    def load_weights(self, name: str) -> None:
        """Loads other weights; those that were loaded stay where it fails.

        Args:
            name: name of a release, a folder, a .ckpt, or a place on the hub.

        Raises:
            ValueError: if they cannot be loaded, or something is being made with those that are.
        """
        if self.job.progress.state == "running":
            raise ValueError("a take is being made: wait for it, or press Stop, and then load other weights")
        if not name.strip():
            raise ValueError(
                "no weights are named: give a release folder, a run folder, a .ckpt or hub:USER/REPO/FOLDER"
            )
        weights = self.weights = self._open(name.strip(), self.folder.root)
        threading.Thread(target=lambda: self._measure(weights), daemon=True).start()

    def open_cards(self) -> None:
        """Takes up the cards that lie in the folder; without a file there, the first card.

        Raises:
            ValueError: if the file there cannot be read; it stays as it is.
        """
        if self.folder.storyboard.is_file():
            self.load_storyboard(self.folder.storyboard)
        else:
            self.change(Board((self._first,)))

    def load_storyboard(self, file: Path) -> None:
        """Replaces the cards by those of a file.

        Args:
            file: a storyboard in our own format, or in another that `read_storyboard` knows.

        Raises:
            ValueError: if it cannot be read; the cards stay as they are.
        """
        self.change(board_of(self._loaded().read(file), self.folder.root))

    def change(self, board: Board) -> None:
        """Replaces the cards, and writes them down."""
        with self._lock:
            self._text = self.folder.write(board)
            self.board = board

    def reroll(self, place: int) -> str:
        """Gives a card another seed.

        Args:
            place: place of the card, from 0.

        Returns:
            A sentence on which segments that touches.

        Raises:
            ValueError: if the storyboard is wrong.
        """
        self.change(self.board.rerolled(place))
        card, found = self.board.cards[place], self.plan()
        if isinstance(found, Problem):
            return found.sentence
        touched = next(segment.touches for segment in found.segments if segment.name == card.name)
        others = [segment.name for segment in found.segments if segment.name not in (card.name, *touched)]
        also = f", and so is what remembers it: {', '.join(touched)}" if touched else ", and nothing else"
        stay = f" Not touched: {', '.join(others)}." if others else ""
        return f"{card.name} has seed {card.seed} now. It is made again{also}.{stay}"

    def continue_from(self, video: Path) -> None:
        """Puts a copy of a video at the start of the take, in place of the one that stood there.

        Args:
            video: the file.

        Raises:
            ValueError: if these weights have no memory, or there is no such video.
        """
        weights = self._loaded()
        if not weights.has_memory:
            raise ValueError(
                f"{weights.name} has no memory, so it cannot go on from a video: load weights of lovic or vin_lovic"
            )
        kept = tuple(each for each in self.board.videos if each.role == "last")
        card = GivenCard(
            self.folder.take_in(video), role="first", prompt=self.board.cards[0].prompt if self.board.cards else ""
        )
        self.change(replace(self.board, videos=(card, *kept)))

    def remove_video(self, place: int) -> None:
        """Takes a given video out of the take; its copy stays in the folder."""
        videos = [video for number, video in enumerate(self.board.videos) if number != place]
        self.change(replace(self.board, videos=tuple(videos)))

    def plan(self) -> PlannedTake | Problem:
        """What would be made of the cards as they are, or what is wrong with them."""
        with self._lock:
            try:
                return self._loaded().plan(self.folder.storyboard)
            except StoryboardError as error:
                kind, place = card_at(self._text, error.line) or ("", 0)
                return Problem(error.reason, kind, place)
            except (ValueError, OSError) as error:
                return Problem(" ".join(str(error).split()))

    @property
    def knows_speed(self) -> bool:
        """Whether `seconds` has an answer for the weights that are loaded."""
        return self.weights is not None and self.weights.name in self._speed

    def seconds(self, take: PlannedTake) -> float | None:
        """About how long a take will need here: by the pace of the last one, or by a short measurement, while it lasts
        None.
        """
        return take.tflops / self._speed[self._loaded().name] if self.knows_speed else None

    def make(self) -> None:
        """Begins to make what is missing of the take.

        Raises:
            ValueError: if the storyboard is wrong, or something is being made already.
        """
        with self._lock:
            found = self.plan()
            if isinstance(found, Problem):
                raise ValueError(found.sentence)
            work, text, weights = self._loaded().work(self.folder.storyboard), self._text, self._loaded()

        def make_and_keep(watch: Watch) -> str:
            path = work(watch)
            take = self.folder.keep_take(text)
            pace = self.job.progress
            if found.tflops and pace.seconds:
                self._speed[weights.name] = found.tflops / pace.seconds
            return f"take {take.name} is finished: {path}"

        self.job.start(make_and_keep, total=found.total)

    def previews(self, take: PlannedTake) -> Mapping[str, Path]:
        """Videos of the segments that are there, by name; those that are new are written."""
        by_name, found = {segment.name: segment for segment in take.segments}, {}
        before: PlannedSegment | None = None
        for name in take.timeline:
            segment = by_name[name]
            if segment.is_there:
                path = self.folder.preview(segment.key)
                if not path.is_file():
                    self._loaded().preview(segment, before, path)
                found[name] = path
            before = segment if segment.is_there else None
        return found

    def score(self, take: Take) -> list[Score]:
        """A take's report card, which also lies in its folder as `report`.

        Args:
            take: a finished one.

        Returns:
            A line for each metric.

        Raises:
            ValueError: if it cannot be scored.
        """
        return self._score(take.folder, take.folder / "report")

    def attention(self, take: Take, time: float) -> Attention:
        """What global tokens read of a take; see `LoadedWeights.attention`.

        Args:
            take: a finished one.
            time: diffusion time in [0, 1].

        Returns:
            Shares of each token, with the keyframes.

        Raises:
            ValueError: if these weights have none, or the take does not fit them.
        """
        weights = self._loaded()
        if not weights.has_global_tokens:
            raise ValueError(f"{weights.name} has no global tokens: load weights of network=vin")
        return weights.attention(take.video, take.prompt, time)

    def _measure(self, weights: LoadedWeights) -> None:
        """Beside the page, which need not wait for it; the pace of a take goes first."""
        if weights.name not in self._speed:
            self._speed.setdefault(weights.name, weights.speed())

    def _loaded(self) -> LoadedWeights:
        if self.weights is None:
            raise ValueError("no weights are loaded: name some at the top of the page, and press Load")
        return self.weights


def first_card(prompt: str | None, seed: int) -> Card:
    """The card of an empty studio."""
    return Card("part_1", prompt=prompt or "", seed=seed)
