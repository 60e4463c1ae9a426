"""The other tabs of the page: two takes beside each other, and what global tokens read."""

from typing import Any

import gradio as gr

from longtake.studio import views
from longtake.studio.attention import on_frames, token_order
from longtake.studio.session import Studio
from longtake.studio.weights import Attention

EVENT: dict[str, Any] = {"api_visibility": "private"}


def _choices(studio: Studio) -> list[tuple[str, str]]:
    return [(take.title, take.name) for take in studio.folder.takes()]


def compare_tab(page: gr.Blocks, studio: Studio, tab: gr.Tab) -> None:
    """Two takes, their videos and their report cards."""
    with gr.Row():
        first = gr.Dropdown([], label="One take", elem_id="first")
        second = gr.Dropdown([], label="Another take", elem_id="second")
    with gr.Row():
        left, right = gr.HTML(elem_id="left"), gr.HTML(elem_id="right")
    judge = gr.Button("Score both", elem_id="judge")
    table = gr.HTML(elem_id="scores")

    def choices(one: str | None, other: str | None) -> tuple[Any, Any]:
        found = _choices(studio)
        names = [name for _, name in found]
        one = one if one in names else names[min(1, len(names) - 1)] if names else None
        other = other if other in names else names[0] if names else None
        return gr.Dropdown(found, value=one), gr.Dropdown(found, value=other)

    def shown(name: str | None) -> str:
        take = next((take for take in studio.folder.takes() if take.name == name), None)
        return views.player(take and take.video, "Finished takes are found here: make one on the first tab.")

    def scored(one: str | None, other: str | None) -> str:
        takes = {take.name: take for take in studio.folder.takes()}
        if one not in takes or other not in takes:
            return views.wrong("choose two takes first")
        try:
            cards = [studio.score(takes[name]) for name in (one, other)]
            files = {name: takes[name].folder / "report" / "report.html" for name in (one, other)}
            reports = "".join(views.link(file, f"whole report of take {name}") for name, file in files.items())
        except (ValueError, OSError) as error:
            return views.wrong(" ".join(str(error).split()))
        return views.scores(cards[0], cards[1], (f"take {one}", f"take {other}")) + reports

    gr.on([tab.select, page.load], choices, [first, second], [first, second], show_progress="hidden", **EVENT)
    first.change(shown, first, left, show_progress="hidden", **EVENT)
    second.change(shown, second, right, show_progress="hidden", **EVENT)
    judge.click(scored, [first, second], table, **EVENT)


def tokens_tab(page: gr.Blocks, studio: Studio, tab: gr.Tab) -> None:
    """Which frames each global token of VIN reads, and where in them."""
    gr.Markdown(
        "VIN reads the whole noisy video into a few global tokens at every step. Here a finished take is noised to a "
        "diffusion time, and its tokens are read once. A row is a token, a column is a keyframe: bright where the "
        "token looks. The tokens are sorted by where along the take they look."
    )
    with gr.Row():
        which = gr.Dropdown([], label="Take", elem_id="looked-at", scale=3)
        level = gr.Slider(0, 1, 0.5, step=0.05, label="Diffusion time: 0 is clean, 1 is noise", scale=3)
        look = gr.Button("Look", variant="primary", scale=0, min_width=110, elem_id="look")
    found = gr.State(None)
    told = gr.HTML(elem_id="attention")
    with gr.Row(visible=False) as one:
        token = gr.Slider(1, 32, 1, step=1, label="Token, counted from the top", scale=1, elem_id="token")
        with gr.Column(scale=3):
            gr.HTML(views.quiet("The keyframes from left to right and row by row, lit where this token reads."))
            lit = gr.Image(show_label=False, interactive=False, buttons=["fullscreen"], elem_id="lit")

    def looked(name: str | None, level: float) -> tuple[Any, ...]:
        take = next((take for take in studio.folder.takes() if take.name == name), None)
        hidden = gr.Row(visible=False)
        if take is None or studio.weights is None:
            return None, views.wrong("choose a take: one is made on the first tab"), hidden, gr.skip(), None
        try:
            attention = studio.attention(take, level)
        except (ValueError, OSError) as error:
            return None, views.wrong(" ".join(str(error).split())), hidden, gr.skip(), None
        count = len(attention.weights)
        picture = views.attention_map(attention, studio.weights.fps)
        return attention, picture, gr.Row(visible=True), gr.Slider(maximum=count, value=1), lit_by(attention, 1)

    def lit_by(attention: Attention | None, place: int) -> Any:
        return None if attention is None else on_frames(attention, int(token_order(attention)[int(place) - 1]))

    def choices(name: str | None) -> Any:
        takes = _choices(studio)
        names = [each for _, each in takes]
        return gr.Dropdown(takes, value=name if name in names else names[0] if names else None)

    gr.on([tab.select, page.load], choices, which, which, show_progress="hidden", **EVENT)
    look.click(looked, [which, level], [found, told, one, token, lit], **EVENT)
    token.change(lit_by, [found, token], lit, show_progress="hidden", **EVENT)
