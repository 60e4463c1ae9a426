"""A long take, from a composed config to mp4 files and their manifest."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from longtake.cli.making import Order, make
from longtake.cli.processes import alone_in
from longtake.cli.request import Request
from longtake.cli.weights import Take
from longtake.parallel import Mesh
from longtake.releases.disclosure import public_name, refuse_secrets
from networks.text import reads_text

log = logging.getLogger("longtake")


def prompts_of(request: Request, config: Mapping[str, Any], *, reads_text: bool = True) -> list[str]:
    """The texts to make videos of, one a video.

    Args:
        request: the call, with its prompt and the number of videos.
        config: config of the weights, which may bring prompts.
        reads_text: whether the weights take text at all.

    Returns:
        Texts, "" for none.

    Raises:
        ValueError: if there would be none.
    """
    if request.num_videos < 1:
        raise ValueError(f"num_videos={request.num_videos} must be at least 1")
    if request.prompt is None:
        own = list(config["prompts"])
        if not own:
            if reads_text:
                log.info('these weights bring no prompts: making videos of no text; prompt="…" gives one')
            own = [""]
        return [own[i % len(own)] for i in range(request.num_videos)]
    texts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    if any(texts) and not reads_text:
        log.warning("these weights take no text: the prompt changes nothing and can be left out")
    return [text for text in texts for _ in range(request.num_videos)]


def make_videos(
    request: Request,
    write_video: Callable[..., None],
    mesh: Mesh | None = None,
    device: Any = None,
) -> list[Path]:
    """Samples every prompt and writes output/*.mp4 and output/manifest.jsonl.

    A video that the manifest there names with this prompt and seed, and these weights and settings, is not made again,
    nor are the finished windows of one that a kill cut short.

    Args:
        request: what is to be made, of which weights.
        write_video: writes a file.
        mesh: this process's place among several, whose teams share the videos out; None: it is alone.
        device: device to sample on; None: a GPU if there is one.

    Returns:
        The files, of all processes.
    """
    mesh = mesh or Mesh()
    take = Take(request, device)
    take.pipeline.spread(mesh, num_frames=request.num_frames)
    order = order_of(request, take)
    with alone_in(order.output, mesh):
        return make(take, order, write_video, mesh)


def order_of(request: Request, take: Take) -> Order:
    """What a request makes of a take.

    Args:
        request: the call, with texts, seed and output.
        take: the weights that it names.

    Returns:
        Folder, videos, and what their manifest repeats.

    Raises:
        ValueError: if there would be no video, or a text holds a secret, which the manifest would name.
    """
    texts = prompts_of(request, take.config, reads_text=reads_text(take.text_encoder))
    refuse_secrets([*texts, request.negative_prompt or ""], "prompt")
    wanted = ((f"{number:03d}.mp4", prompt, request.seed + number) for number, prompt in enumerate(texts))
    told = {
        "without": request.without,
        **({} if request.negative_prompt is None else {"negative_prompt": request.negative_prompt}),
        **{key: Path(name).name for key in ("given", "given_end") if (name := getattr(request, key)) is not None},
        **({} if request.control_file is None else {"control": Path(request.control_file).name}),
    }
    return Order(request.output, tuple(wanted), told, public_name(request.weights))
