"""The page as Gradio draws it: weights, cards, the take. What it does is in `session`, what it shows in `views`."""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported
import gradio as gr

from longtake.storyboard.schema import DIRECTIONS, ROLES
from longtake.studio import views
from longtake.studio.cards import Card, GivenCard
from longtake.studio.session import Problem, Studio
from longtake.studio.tabs import compare_tab, tokens_tab
from longtake.studio.weights import PlannedTake

DIRECTION_CHOICES = [("automatic", ""), *((name.replace("_", " "), name) for name in DIRECTIONS)]
FONT = ["system-ui", "sans-serif"]
"""Of the machine itself: nothing is fetched from elsewhere."""
BOARD_FILES = (".yaml", ".yml", ".json")
FIELD: dict[str, Any] = {"interactive": True}  # what Gradio works out by itself comes late to drawn cards
LINE: dict[str, Any] = {**FIELD, "max_lines": 1}
SECONDS = 0.7
"""Between two looks at what is being made."""

Outputs = tuple[Any, ...]


def serve(studio: Studio, *, host: str, port: int, browser: bool) -> None:
    """Serves the page until the process is ended; a signal ends it as it ends the other programs.

    Args:
        studio: what it shows.
        host: address that it listens at.
        port: a port that is free.
        browser: whether to open it.
    """
    page = launch(studio, host=host, port=port, browser=browser)
    try:
        while True:
            time.sleep(SECONDS)
    finally:
        studio.job.stop()
        page.close(verbose=False)


def launch(studio: Studio, *, host: str, port: int, browser: bool) -> gr.Blocks:
    """Serves the page in threads of its own; see `serve`."""
    page = build(studio)
    page.launch(
        server_name=host,
        server_port=port,
        inbrowser=browser,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[str(studio.folder.root)],
        footer_links=[],
        run_history=False,
        css=views.STYLE,
        theme=gr.themes.Default(primary_hue="teal", font=FONT, font_mono=["ui-monospace", "monospace"]),
    )
    return page


def build(studio: Studio) -> gr.Blocks:
    """The page of a studio."""
    with gr.Blocks(title="longtake studio", analytics_enabled=False) as page:
        drawn = gr.State(0)  # another number has the cards drawn anew
        gr.Markdown("# longtake studio")
        _weights(studio, drawn)
        with gr.Tabs():
            with gr.Tab("Storyboard"):
                _Storyboard(page, studio, drawn)
            with gr.Tab("Compare takes") as tab:
                compare_tab(page, studio, tab)
            with gr.Tab("Global tokens") as tab:
                tokens_tab(page, studio, tab)
    return page


def on(
    triggers: Any,
    act: Callable[..., Any],
    inputs: Any = None,
    outputs: Any = None,
    *,
    mode: Literal["once", "multiple", "always_last"] = "once",
) -> Any:
    """An event that is answered at once: no flicker, and no part of an interface for other programs."""
    return gr.on(
        triggers,
        act,
        inputs,
        outputs,
        show_progress="hidden",
        api_visibility="private",
        trigger_mode=mode,
        concurrency_limit=None,
    )


def _weights(studio: Studio, drawn: gr.State) -> None:
    """The bar at the top."""
    name = gr.Textbox(
        lambda: studio.weights.name if studio.weights else "",
        label="Weights: a release folder, a run folder, a .ckpt, or hub:USER/REPO/FOLDER",
        submit_btn="Load",
        max_lines=1,
        elem_id="weights",
    )
    about = gr.HTML(lambda: _about(studio), elem_id="about")

    def load_weights(name: str) -> tuple[str, int]:
        try:
            studio.load_weights(name)
        except (ValueError, OSError) as error:
            return views.wrong(str(error)) + _about(studio), time.time_ns()
        return _about(studio), time.time_ns()

    name.submit(load_weights, name, [about, drawn], api_visibility="private")


def _about(studio: Studio) -> str:
    if studio.weights is None:
        return views.wrong("no weights are loaded")
    return views.quiet(f"{Path(studio.weights.name).name}: {studio.weights.about}.")


class _Storyboard:
    """The first tab: the segments above, the cards on the left, the take on the right."""

    def __init__(self, page: gr.Blocks, studio: Studio, drawn: gr.State) -> None:
        self.studio, self.drawn = studio, drawn
        self.strip = gr.HTML(elem_id="strip")
        with gr.Row():
            with gr.Column(scale=5):
                self.note = gr.HTML(elem_id="note")
                gr.render(triggers=[page.load, drawn.change], show_progress="hidden")(self._cards)
            with gr.Column(scale=4, min_width=360):
                self.cost = gr.HTML(elem_id="cost")
                with gr.Row():
                    self.make = gr.Button("Make the take", variant="primary", elem_id="make", min_width=140)
                    stop = gr.Button("Stop", elem_id="stop", min_width=90)
                self.progress = gr.HTML(elem_id="progress")
                self.take = gr.HTML(elem_id="take")
                with gr.Accordion("Plan", open=True):
                    self.plan = gr.HTML(elem_id="plan")
                label = "Drag a video here to continue it, or a storyboard (.yaml) to load it"
                drop = gr.File(label=label, height=150, elem_id="drop")
        self.shown = [self.strip, self.cost, self.plan]
        self.redrawn = [*self.shown, self.note, drawn]
        on(stop.click, studio.job.stop)
        on(drop.upload, self._changing(lambda file: _dropped(studio, Path(file))), drop, [*self.redrawn, drop])
        seen = gr.State(None)
        watched = [seen, self.progress, self.take, *self.shown]
        on(gr.Timer(SECONDS).tick, self._look, seen, watched)
        on([page.load, drawn.change], lambda: self._look(None), None, watched)

    def _cards(self) -> None:
        """Draws the cards, and says what their fields and buttons do."""
        studio, board, found = self.studio, self.studio.board, self.studio.plan()
        alerts = views.alerts(board, found)
        fields: list[Any] = []
        shown: list[gr.HTML] = []
        buttons: list[tuple[gr.Button, Callable[[], str | None]]] = []
        for place, video in enumerate(board.videos):
            alert, own, remove = _video_card(place, video, alerts.pop(0))
            buttons.append((remove, partial(studio.remove_video, place)))
            fields, shown = [*fields, *own], [*shown, alert]
        for place, card in enumerate(board.cards):
            alert, own, pressed = _card(place, card, alerts.pop(0), studio)
            buttons += zip(pressed, _acts(studio, place), strict=True)
            fields, shown = [*fields, *own], [*shown, alert]
        buttons.append((gr.Button("Add a card", elem_id="add"), lambda: studio.change(studio.board.added())))
        for button, act in buttons:
            on(button.click, self._changing(act, with_fields=True), fields, self.redrawn)
        on(self.make.click, self._begin, fields, [self.progress, self.note])

        def edited(*values: Any) -> Outputs:
            try:
                studio.change(studio.board.with_fields(values))
            except ValueError as error:  # cards of another window
                return (views.wrong(str(error)), *[gr.skip()] * (len(shown) + len(self.shown) - 1))
            found = studio.plan()
            return (*views.alerts(studio.board, found), *self._shown(found))

        on([field.change for field in fields], edited, fields, [*shown, *self.shown], mode="always_last")

    def _changing(self, act: Callable[..., str | None], *, with_fields: bool = False) -> Callable[..., Outputs]:
        """An event that changes the cards, after which the page is drawn anew; a refusal is a sentence on it.

        with_fields: first takes up what stands in the fields, however lately it was typed.
        """

        def changed(*values: Any) -> Outputs:
            try:
                if with_fields:
                    self.studio.change(self.studio.board.with_fields(values))
                note = views.told(act(*(() if with_fields else values)) or "")
            except (ValueError, OSError) as error:
                note = views.wrong(" ".join(str(error).split()))
            found = (*self._shown(self.studio.plan()), note, time.time_ns())
            return found if with_fields else (*found, None)

        return changed

    def _begin(self, *values: Any) -> Outputs:
        """Takes up what stands in the fields, and begins to make the take."""
        try:
            self.studio.change(self.studio.board.with_fields(values))
            self.studio.make()
        except (ValueError, OSError) as error:
            return views.wrong(" ".join(str(error).split())), ""
        return views.bar(self.studio.job.progress), ""

    def _look(self, before: Sequence[Any] | None) -> Outputs:
        """What changed since the last look."""
        now = self.studio.job.progress
        key = (now.state, len(now.finished), self.studio.knows_speed)
        if before is not None and key == tuple(before):
            still: Any = gr.skip()
            return (key, views.bar(now) if now.state == "running" else still, still, *[still] * len(self.shown))
        take = None if now.state == "running" else self.studio.folder.video
        return (key, views.bar(now), views.player(take), *self._shown(self.studio.plan()))

    def _shown(self, found: PlannedTake | Problem) -> Outputs:
        """Strip, cost and plan."""
        studio = self.studio
        if isinstance(found, Problem) or studio.weights is None:
            return views.strip(found, {}, studio.job.progress), views.cost(found, None, 1), ""
        seconds = None if studio.job.progress.state == "running" else studio.seconds(found)
        strip = views.strip(found, studio.previews(found), studio.job.progress)
        return strip, views.cost(found, seconds, studio.weights.fps), views.plan_table(found)


def _card(place: int, card: Card, alert: str, studio: Studio) -> tuple[gr.HTML, list[Any], list[gr.Button]]:
    """One segment: its alert, its fields in the order of CARD_FIELDS, its buttons in the order of `_acts`."""
    weights, last = studio.weights, len(studio.board.cards) - 1
    default, has_memory = (str(weights.default_frames), weights.has_memory) if weights else ("as trained", True)
    with gr.Column(variant="panel", elem_classes="card", elem_id=f"card-{place + 1}"):
        with gr.Row():
            name = gr.Textbox(card.name, label=f"Card {place + 1}", scale=1, min_width=120, **LINE)
            prompt = gr.Textbox(card.prompt, label="Prompt", lines=2, scale=4, min_width=240, **FIELD)
        with gr.Row():
            frames = gr.Textbox(_text(card.num_frames), label="Frames", placeholder=default, min_width=70, **LINE)
            direction = gr.Dropdown(
                DIRECTION_CHOICES, value=card.direction, label="Direction", min_width=150, scale=2, **FIELD
            )
            shot = gr.Textbox(card.shot, label="Shot", placeholder="as before", min_width=80, **LINE)
            ratio = gr.Textbox(
                _text(card.compression_ratio), label="Ratio", placeholder="trained", min_width=80, max_lines=1
            )
            seed = gr.Textbox(_text(card.seed), label="Seed", min_width=125, scale=2, **LINE)
        with gr.Accordion("Place and memory", open=False, visible=has_memory), gr.Row():
            after = gr.Textbox(card.after, label="After", placeholder="the card above", min_width=90, **LINE)
            before = gr.Textbox(card.before, label="Before", placeholder="nothing", min_width=90, **LINE)
            gap = gr.Textbox(_text(card.gap or None), label="Gap, frames", placeholder="0", min_width=80, **LINE)
            memory = gr.Textbox(
                card.memory, label="Remembers", placeholder="all, none, or names", min_width=120, **LINE
            )
        shown = gr.HTML(alert, elem_classes="alert")
        with gr.Row():
            reroll = gr.Button("Re-roll the seed", size="sm", min_width=110, scale=2, elem_id=f"reroll-{place + 1}")
            up = gr.Button("↑", size="sm", min_width=40, interactive=place > 0)
            down = gr.Button("↓", size="sm", min_width=40, interactive=place < last)
            remove = gr.Button("Remove", size="sm", min_width=80, interactive=last > 0)
    fields = [name, prompt, frames, direction, shot, ratio, seed, after, before, gap, memory]
    return shown, fields, [reroll, up, down, remove]


def _text(value: float | str | None) -> str:
    """A number in a field: a text, so that an empty one says nothing and a wrong one gets its sentence."""
    return "" if value is None else str(value)


def _video_card(place: int, video: GivenCard, alert: str) -> tuple[gr.HTML, list[Any], gr.Button]:
    """A given video: its alert, its fields in the order of VIDEO_FIELDS, and the button that takes it away."""
    with gr.Column(variant="panel", elem_classes="card", elem_id=f"video-{place + 1}"):
        with gr.Row():
            prompt = gr.Textbox(video.prompt, label=f"Your video {Path(video.path).name} shows", scale=4, **FIELD)
            role = gr.Dropdown(list(ROLES), value=video.role, label="It comes", min_width=90, **FIELD)
            frames = gr.Textbox(
                _text(video.num_frames), label="Kept", placeholder="a segment", min_width=80, max_lines=1
            )
        shown = gr.HTML(alert, elem_classes="alert")
        remove = gr.Button("Remove the video", size="sm")
    return shown, [role, prompt, frames], remove


def _acts(studio: Studio, place: int) -> Sequence[Callable[[], str | None]]:
    """What the buttons of a card do."""
    return (
        lambda: studio.reroll(place),
        lambda: studio.change(studio.board.moved(place, -1)),
        lambda: studio.change(studio.board.moved(place, 1)),
        lambda: studio.change(studio.board.removed(place)),
    )


def _dropped(studio: Studio, file: Path) -> str:
    """Takes in a file that was dragged to the page."""
    if file.suffix.lower() in BOARD_FILES:
        studio.load_storyboard(file)
        return f"{file.name} is loaded."
    studio.continue_from(file)
    return f"The take goes on from the end of {file.name}."
