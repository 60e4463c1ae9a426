"""Draws docs/concepts/*.svg: python docs/tools/diagrams.py. The canvases are those of the rollouts' own plans."""

from html import escape
from pathlib import Path

import yaml

from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "concepts"
INK, PALE = "#263238", "#607d8b"
NOISY, CLEAN, KEY, TOKEN, PART, TEXT = "#cfd8dc", "#80cbc4", "#ffb74d", "#ff8a65", "#e3f2fd", "#fff9c4"
ARROW = (
    '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 8 4 0 8z" fill="{INK}"/></marker></defs>'
)


def box(x, y, w, h, fill, text="", size=14):
    """A box with lines of text in its middle."""
    lines = text.split("\n") if text else []
    top = y + h / 2 - (len(lines) - 1) * size * 0.6 + size * 0.35
    said = "".join(label(x + w / 2, top + n * size * 1.2, line, size, "middle") for n, line in enumerate(lines))
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4" fill="{fill}" stroke="{INK}"/>{said}'


def label(x, y, text, size=13, anchor="start", colour=INK, weight="normal"):
    """A line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def arrow(*points):
    """A line through points, with a head at the last."""
    path = " ".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{INK}" stroke-width="1.5" marker-end="url(#a)"/>'


def cells(x, y, count, fill, w=14, h=22):
    """Frames or tokens side by side; fill: a colour, or a colour for each number."""
    colour = fill if callable(fill) else lambda number: fill
    return "".join(
        f'<rect x="{x + n * w:g}" y="{y}" width="{w}" height="{h}" fill="{colour(n)}" stroke="{INK}" '
        'stroke-width=".7"/>'
        for n in range(count)
    )


def svg(name, width, height, title, *parts):
    """Writes a file."""
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif">'
        f"<title>{escape(title)}</title>{ARROW}"
        f'<rect width="{width}" height="{height}" rx="8" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )
    (OUT / name).write_text(text)


def vin():
    """One step of VIN: read, denoise, fuse."""
    chunks = [(40, 0, 10), (290, 6, 14), (590, 16, 14)]  # left edge, first frame, frames with the overlap
    parts = [
        label(40, 34, "1  Read", 15, weight="bold"),
        label(40, 62, "The whole noisy video, 30 latent frames; every 5th is a keyframe"),
        cells(40, 72, 30, lambda n: KEY if n % 5 == 0 else NOISY),
        arrow((470, 83), (545, 83)),
        label(507, 74, "keyframes", 12, "middle", PALE),
        box(552, 40, 190, 92, PART, "Video Interface\none cross-attention,\nthen self-attention blocks"),
        box(772, 100, 88, 32, TEXT, "text"),
        arrow((770, 116), (746, 116)),
        box(772, 40, 88, 40, PART, "learned\ntokens", 12),
        arrow((770, 60), (746, 60)),
        arrow((647, 134), (647, 163)),
        cells(587, 166, 12, TOKEN, 10, 18),
        label(715, 180, "global tokens", 12),
        label(40, 194, "2  Denoise all chunks in parallel", 15, weight="bold"),
    ]
    for number, (x, first, frames) in enumerate(chunks):
        local = 4 if number else 0
        parts += [
            arrow((647, 186), (647, 212), (x + 14 * frames + 42, 212), (x + 14 * frames + 42, 262)),
            label(x, 258, f"chunk {number + 1}: frames {first} to {first + frames - 1}", 12, colour=PALE),
            cells(x, 266, frames, lambda n, local=local: "#eceff1" if n < local else NOISY),
            cells(x + 14 * frames + 6, 266, 12, TOKEN, 6, 22),
            arrow((x + 7 * frames + 25, 292), (x + 7 * frames + 25, 312)),
            box(x, 316, 14 * frames + 78, 34, PART, "DiT: self-attention over both", 13),
            arrow((x + 7 * frames + 25, 352), (x + 7 * frames + 25, 372)),
            cells(x, 376, frames, CLEAN),
        ]
    parts += [
        label(40, 436, "3  Fuse", 15, weight="bold"),
        label(40, 460, "Two chunks predict the frames that they share; a cross-fade joins them (darker)."),
        cells(40, 470, 30, lambda n: "#26a69a" if n in (*range(6, 10), *range(16, 20)) else CLEAN),
        arrow((470, 481), (545, 481)),
        label(556, 486, "the sampler's next step, with new global tokens"),
    ]
    svg("vin.svg", 900, 512, "One diffusion step of a Video Interface Network", *parts)


def lovic():
    """FlexFormer and the DiT."""
    parts = [
        label(40, 34, "Finished segments are compressed once", 15, weight="bold"),
        label(500, 34, "The DiT denoises the next segment", 15, weight="bold"),
    ]
    for number, tokens in enumerate((5, 10)):
        y = 56 + number * 112
        parts += [
            cells(40, y, 10, CLEAN),
            label(190, y + 16, f"segment {number + 1}", 12, colour=PALE),
            box(40, y + 28, 140, 24, TEXT, "its text", 12),
            arrow((184, y + 40), (256, y + 40)),
            box(260, y + 6, 118, 64, PART, "FlexFormer\nencoder", 14),
            arrow((380, y + 38), (398, y + 38)),
            cells(402, y + 28, tokens, TOKEN, 7, 20),
            label(402, y + 64, ("ratio 16", "ratio 8")[number], 12, colour=PALE),
        ]
    parts += [
        box(40, 292, 338, 62, "#fafafa", ""),
        label(52, 314, "One learned query, copied as often as the ratio asks for;", 12),
        label(52, 330, "Interpolated RoPE gives each copy its own place (t, h, w).", 12),
        label(52, 346, "A decoder recovers video and text: in training alone.", 12, colour=PALE),
        label(500, 62, "context tokens", 12, colour=PALE),
        cells(500, 70, 15, TOKEN, 7, 22),
        label(613, 62, "last frames", 12, colour=PALE),
        cells(620, 70, 2, CLEAN),
        label(700, 62, "noisy segment 3", 12, colour=PALE),
        cells(660, 70, 10, NOISY),
        arrow((441, 94), (466, 94), (466, 77), (496, 77)),
        arrow((475, 206), (484, 206), (484, 86), (496, 86)),
        arrow((650, 96), (650, 116)),
        box(500, 120, 300, 36, PART, "self-attention over all of them"),
        arrow((650, 158), (650, 172)),
        box(500, 176, 300, 36, PART, "cross-attention"),
        box(816, 176, 66, 36, TEXT, "text 3", 12),
        arrow((814, 194), (804, 194)),
        arrow((650, 214), (650, 228)),
        box(500, 232, 300, 36, PART, "MLP"),
        label(812, 256, "× depth", 12, colour=PALE),
        arrow((650, 270), (650, 290)),
        cells(580, 294, 10, CLEAN),
        label(580, 334, "segment 3, which is remembered in its turn", 12, colour=PALE),
        label(40, 396, "Four tasks, one network: only the places in time differ", 15, weight="bold"),
    ]
    tasks = [
        ("predict", [("known", 0), ("new", 1)], "the next"),
        ("retrodict", [("new", 0), ("known", 1)], "the one before"),
        ("interpolate", [("known", 0), ("new", 1), ("known", 2)], "one between"),
        ("new shot", [("known", 0), ("cut", 1), ("new", 1.3)], "after a cut"),
    ]
    for number, (name, pieces, about) in enumerate(tasks):
        x = 40 + number * 215
        parts.append(label(x, 424, name, 13, weight="bold"))
        parts.append(label(x + 82, 424, about, 12, colour=PALE))
        for kind, place in pieces:
            if kind == "cut":
                parts.append(f'<path d="M{x + 66} 430v34" stroke="#c62828" stroke-width="2.5" stroke-dasharray="5 3"/>')
            else:
                parts.append(cells(x + 60 * place, 436, 5, CLEAN if kind == "known" else NOISY, 11))
    svg("lovic.svg", 900, 482, "LoViC: FlexFormer compresses finished segments, the DiT attends to them", *parts)


def canvases():
    """The canvases that three rollouts plan for the same 40 latent frames."""
    rollouts = [
        ("single_pass", "VIN: one canvas, whose chunks (between the red lines) are denoised in parallel", SinglePass),
        ("autoregressive", "each window knows the last frames of the one before", Autoregressive),
        ("segmentwise", "LoViC: each segment also remembers finished ones as context tokens", Segmentwise),
    ]
    x0, w, y, parts = 200, 16, 30, []
    for name, about, kind in rollouts:
        settings = yaml.safe_load((ROOT / f"conf/rollout/{name}.yaml").read_text())
        settings.pop("_target_")
        rollout = kind(**settings)
        parts += [label(30, y, f"rollout={name}", 15, weight="bold"), label(x0 + 50, y, about, 12, colour=PALE)]
        y += 10
        for number, canvas in enumerate(rollout.plan(40)):
            parts.append(label(x0 - 14, y + 16, f"canvas {number + 1}", 12, "end"))
            for each in canvas.remembered:
                parts.append(
                    f'<rect x="{x0 + each.start * w}" y="{y + 6}" width="{each.frames * w}" height="10" fill="{TOKEN}" '
                    f'stroke="{INK}" stroke-width=".7"/>'
                )
            for slot, frame in enumerate(canvas.frames):
                if slot not in canvas.empty:
                    parts.append(cells(x0 + frame * w, y, 1, CLEAN if slot in canvas.known else NOISY, w))
            if canvas.joins is None:
                for end in range(10, 40, 10):
                    parts.append(f'<path d="M{x0 + end * w} {y - 4}v30" stroke="#c62828" stroke-width="2"/>')
            y += 28
        y += 34
    parts += [
        cells(x0, y - 22, 1, NOISY),
        label(x0 + 22, y - 6, "denoised here", 12),
        cells(x0 + 140, y - 22, 1, CLEAN),
        label(x0 + 162, y - 6, "known: clean frames in the window", 12),
        cells(x0 + 400, y - 16, 3, TOKEN, 14, 10),
        label(x0 + 450, y - 6, "remembered as context tokens", 12),
    ]
    svg("canvases.svg", 870, y + 14, "The canvases of three rollouts", *parts)


if __name__ == "__main__":
    vin()
    lovic()
    canvases()
