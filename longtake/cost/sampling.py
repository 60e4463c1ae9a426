"""What a rollout costs: its own plan is carried out on the device `meta`, each kind of canvas for one step.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtake.cost.counting import Cost, Counting
from longtake.cost.repeats import Repeats
from longtake.generation import part_of
from longtake.rollouts.interfaces import Canvas, Given, Predict, Wrap, unwrapped
from longtake.rollouts.rollout import Rollout
from networks.interfaces import Condition, Context, ContextCache, VideoNetwork

FULL = 4
"""Bytes of a value in float32, in which the canvas and an optimizer's state are kept."""
TEXT_TOKENS = 20
"""Of a prompt whose cost is asked for before it is encoded. Source: as in conf/evaluate.yaml."""
ADAM_BYTES = 4 * FULL
"""Of each parameter in training: master weight, gradient and two moments, in float32."""
SAMPLER_CANVASES = 3
"""Latent canvases at hand during a call: the noisy one, and both estimates of the call before."""


class VideoSize(NamedTuple):
    """What is made: latent frames, channels and sides of the latents, and tokens and features of its caption."""

    num_latents: int
    channels: int
    height: int
    width: int
    text_tokens: int
    text_features: int

    def per_frame(self, patch: int) -> int:
        """Tokens of a latent frame, in patches of sides `patch`."""
        return self.height * self.width // patch**2

    def noise(self, frames: int) -> Tensor:
        """Latents 1 c f h w on meta."""
        return torch.empty(1, self.channels, frames, self.height, self.width, device="meta")

    def condition(self, frames: int, dtype: torch.dtype) -> Condition:
        """A condition of a canvas of so many latent frames, on meta: places in time and a caption."""
        return Condition(
            torch.empty(1, frames, device="meta"),
            torch.empty(1, self.text_tokens, self.text_features, device="meta", dtype=dtype),
            None,
        )


class TextCost(NamedTuple):
    """What it costs to make the attention keys of a text once for each pass of guidance.

    flops: FLOPs of making them; saved_flops: FLOPs that each call of the network saves; bytes: bytes that are kept.
    """

    flops: int
    saved_flops: int
    bytes: int


class CanvasCost(NamedTuple):
    """What one canvas costs.

    step: one call of the network that makes the text's keys itself. memory: making the context tokens, once.
    context_tokens: how many there are. kept_bytes: bytes of their keys and values. frames: latent frames of the canvas.
    text: what is saved by making the text's keys once, as sampling does.
    """

    step: Cost
    memory: Cost
    context_tokens: int
    kept_bytes: int
    frames: int
    text: TextCost


class SamplingCost(NamedTuple):
    """What one video costs.

    step: FLOPs of one step of the largest canvas. memory: FLOPs of making what LoViC remembers. network: FLOPs of all
    steps, memory included. calls: how often the network is called. activations: bytes at the fullest moment.
    """

    step: int
    memory: int
    network: int
    calls: int
    activations: int


class CanvasCounter:
    """Stands where a rollout generates: nothing is sampled, and each kind of canvas is counted once."""

    def __init__(
        self,
        network: VideoNetwork,
        dtype: torch.dtype,
        without: Sequence[str] = (),
        *,
        texts: bool = True,
        repeats: Repeats | None = None,
    ) -> None:
        """Nothing is counted yet.

        Args:
            network: what the rollout calls, on meta, in evaluation mode and the type that it computes in.
            dtype: of that type.
            without: names that every condition goes without, see Condition.without.
            texts: whether what is gained by making a text's keys once is counted, by a further call.
            repeats: what is known of the network, or of one that it is a part of; None: nothing.
        """
        self.network, self.texts = network, texts
        self.without = tuple(without)
        self.dtype = dtype
        self.canvases: list[CanvasCost] = []
        self._kinds: dict[Any, CanvasCost] = {}
        self._wrapped: dict[Any, CanvasCost] = {}
        self._repeats = Repeats(network) if repeats is None else repeats
        self._memories: dict[Any, tuple[Cost, ContextCache]] = {}

    def __call__(self, noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        """Counts one canvas, whose sizes alone decide."""
        condition = condition.without(*self.without)
        context = _kind_of(condition.context)
        kind = (noise.shape, condition.text.shape, condition.frame_mask is None, given is None, context)
        predict = wrap(self.network)
        known = self._kinds if predict is self.network else self._wrapped
        if kind not in known:
            known[kind] = self._count(noise, condition, given, predict)
        self.canvases.append(known[kind])
        return noise

    def carried_out(self, rollout: Rollout, video: VideoSize) -> list[CanvasCost]:
        """What each canvas of a rollout's plan costs.

        Args:
            rollout: how the video is made; what another one's canvases cost is known where it leaves the network as is.
            video: its size.

        Returns:
            A cost for each canvas, in the plan's order.
        """
        self.canvases, self._wrapped = [], {}
        frames = video.num_latents
        rollout(self, Canvas(video.noise(frames), video.condition(frames, self.dtype)))
        return self.canvases

    @torch.no_grad()
    def _count(self, noise: Tensor, condition: Condition, given: Given | None, predict: Predict) -> CanvasCost:
        making, tokens, kept = Cost(0, 0), 0, 0
        if self.network.takes_segments:
            making, memory = self._memory(condition)
            condition = condition._replace(context=(), memory=memory)
            tokens = _tokens(memory)
            kept = _bytes_of(memory.layers)
        time = torch.empty(1, 1 if given is None else noise.shape[2], device="meta")
        with self._counting(condition, noise, time) as counting:
            predict(noise, time, condition)
        flops = counting.cost.flops
        text = self._text(flops, condition, noise, time, predict) if self.texts else TextCost(0, 0, 0)
        return CanvasCost(counting.cost, making, tokens, kept, noise.shape[2], text)

    def _text(self, flops: int, condition: Condition, noise: Tensor, time: Tensor, predict: Predict) -> TextCost:
        """What is gained by making a text's keys once; flops: of a call that makes them."""
        with self._counting(condition) as making:
            told = self.network.encode_text(condition)
        if told.asked is None:
            return TextCost(0, 0, 0)
        with self._counting(told, noise, time) as counting:
            predict(noise, time, told)
        return TextCost(making.cost.flops, flops - counting.cost.flops, _bytes_of(told.asked.layers))

    def context_tokens(self, condition: Condition, context: Context) -> int:
        """Context tokens of a segment: whole tokens in a grid are rarely as many as the ratio asks for."""
        return _tokens(self._remember(condition, (context,))[1])

    @torch.no_grad()
    def _memory(self, condition: Condition) -> tuple[Cost, ContextCache]:
        """What making a memory costs, and one of its size: each kind of segment is compressed once."""
        null, memory = self._remember(condition, ())
        flops, most, tokens = null.flops, null.bytes, 1
        for context in condition.context:
            each, alone = self._remember(condition, (context,))
            flops += each.flops - null.flops
            most = max(most, each.bytes)
            tokens += _tokens(alone)
        layers = tuple(
            (
                key.new_empty(*key.shape[:2], tokens, key.shape[3]),
                value.new_empty(*value.shape[:2], tokens, value.shape[3]),
            )
            for key, value in memory.layers
        )
        return Cost(flops, most), ContextCache(layers, None)

    @torch.no_grad()
    def _remember(self, condition: Condition, context: tuple[Context, ...]) -> tuple[Cost, ContextCache]:
        kind = _kind_of(context)
        if kind not in self._memories:
            condition = condition._replace(context=context)
            with self._counting(condition, *(x for each in context for x in each.segments[:6])) as counting:
                memory = self.network.encode_context(condition).memory
            assert memory is not None, "a network of segments has a memory for every canvas"
            self._memories[kind] = counting.cost, memory
        return self._memories[kind]

    def _counting(self, condition: Condition, *more: Tensor) -> Counting:
        """Weights and inputs are there before."""
        known = [x for x in condition if isinstance(x, Tensor)]
        if condition.memory is not None:
            known += [x for layer in condition.memory.layers for x in layer]
        if condition.asked is not None:
            known += [x for layer in condition.asked.layers for x in layer]
            known += [x for told in condition.asked.tokens.values() for x in told if x is not None]
        return Counting([*self.network.parameters(), *self.network.buffers(), *known, *more], self._repeats)


def _bytes_of(layers: Sequence[tuple[Tensor, Tensor]]) -> int:
    return sum(x.numel() * x.element_size() for layer in layers for x in layer)


def _tokens(memory: ContextCache) -> int:
    """Context tokens, without the null memory."""
    return memory.layers[0][0].shape[2] - 1


def _kind_of(context: Sequence[Context]) -> Any:
    return tuple((each.segments.video.shape, each.rate) for each in context)


WHOLE_CHUNKS = (2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Lengths that are tried, in chunks. Source: our choice; between two of them less than a doubling is missed."""


class Payback(NamedTuple):
    """The length from which chunks cost less than full attention.

    num_latents: latent frames; step, full_step: FLOPs of one step at that length, in chunks and with full attention.
    """

    num_latents: int
    step: int
    full_step: int


class Counters:
    """Counters of a network and of its parts: what is alike is counted once for all that is asked of them."""

    def __init__(self, network: VideoNetwork, dtype: torch.dtype, without: Sequence[str] = ()) -> None:
        """Nothing is counted yet.

        Args:
            network: the whole, on meta, in `dtype`; it stays as it is.
            dtype: type that the network computes in.
            without: names that every condition goes without.
        """
        self._network, self._repeats = network.eval(), Repeats(network)
        self._dtype, self._without = dtype, without
        self._counters: dict[tuple[VideoNetwork, bool], CanvasCounter] = {}

    def of(self, part: VideoNetwork, *, texts: bool = True) -> CanvasCounter:
        """The counter of the network or of one of its parts; texts: as of CanvasCounter."""
        key = part, texts
        if key not in self._counters:
            own: Any = {"texts": texts, "repeats": self._repeats}
            self._counters[key] = CanvasCounter(part.eval(), self._dtype, self._without, **own)
        return self._counters[key]

    def sampling_cost(
        self, rollout: Rollout, video: VideoSize, *, calls_per_canvas: int, texts_per_canvas: int = 1
    ) -> SamplingCost:
        """As the function of that name."""
        canvases = self.of(part_of(self._network, rollout)).carried_out(rollout, video)
        return _sum(canvases, video, calls_per_canvas, texts_per_canvas)

    def pays_from(self, video: VideoSize) -> Payback | None:
        """As the function of that name."""
        chunk, full = self._network.chunk_frames, self._network.over_windows
        if chunk is None or full is self._network:
            return None
        for count in WHOLE_CHUNKS:
            frames, steps = chunk * count, []
            for each in (self._network, full):
                counter = self.of(each, texts=False)
                counter(video.noise(frames), video.condition(frames, self._dtype), None)
                steps.append(counter.canvases[-1].step.flops)
            if steps[0] < steps[1]:
                return Payback(frames, *steps)
        return None


def sampling_cost(
    network: VideoNetwork,
    rollout: Rollout,
    video: VideoSize,
    *,
    calls_per_canvas: int,
    dtype: torch.dtype,
    without: Sequence[str] = (),
    texts_per_canvas: int = 1,
) -> SamplingCost:
    """What one video costs, counted without computing anything.

    Args:
        network: the whole, on meta, in `dtype`.
        rollout: how the video is made.
        video: its size.
        calls_per_canvas: inference steps times passes of guidance.
        dtype: type that the network computes in.
        without: names that every condition goes without.
        texts_per_canvas: passes of guidance, each of which asks a text of its own.

    Returns:
        FLOPs and bytes.
    """
    calls = {"calls_per_canvas": calls_per_canvas, "texts_per_canvas": texts_per_canvas}
    return Counters(network, dtype, without).sampling_cost(rollout, video, **calls)


def canvas_costs(
    network: VideoNetwork, rollout: Rollout, video: VideoSize, dtype: torch.dtype, without: Sequence[str] = ()
) -> list[CanvasCost]:
    """What each canvas of a rollout's plan costs, in the plan's order.

    Args:
        network: the part that the rollout calls, on meta, in evaluation mode, without gradients.
        rollout: how the video is made.
        video: its size.
        dtype: type that the network computes in.
        without: names that every condition goes without.

    Returns:
        A cost for each canvas, in order.
    """
    return CanvasCounter(network, dtype, without).carried_out(rollout, video)


def pays_from(network: VideoNetwork, video: VideoSize, dtype: torch.dtype) -> Payback | None:
    """The shortest of WHOLE_CHUNKS on which a network's chunks cost less than its DiT over the whole canvas.

    Args:
        network: the whole, on meta, in `dtype`.
        video: gives channels and sides of the latents, and the size of a text; its length does not matter.
        dtype: type that the network computes in.

    Returns:
        None where the network has no chunks, or they never pay.
    """
    return Counters(network, dtype).pays_from(video)


def _sum(canvases: Sequence[CanvasCost], video: VideoSize, calls_per_canvas: int, texts: int) -> SamplingCost:
    memory = sum(canvas.memory.flops for canvas in canvases)
    telling = sum(texts * canvas.text.flops - calls_per_canvas * canvas.text.saved_flops for canvas in canvases)
    total = memory + telling + calls_per_canvas * sum(canvas.step.flops for canvas in canvases)
    step = max(canvas.step.flops for canvas in canvases)
    held = max(_held(canvas, video) + texts * canvas.text.bytes for canvas in canvases)
    return SamplingCost(step, memory, total, calls_per_canvas * len(canvases), held)


def _held(canvas: CanvasCost, video: VideoSize) -> int:
    """Bytes at the fullest moment of a canvas: of a step, or of making its memory."""
    frame = FULL * video.channels * video.height * video.width
    # The noise of the whole video, and what is finished of it where canvases follow one another.
    whole = (1 if canvas.frames == video.num_latents else 2) * frame * video.num_latents
    step = SAMPLER_CANVASES * frame * canvas.frames + canvas.kept_bytes + canvas.step.bytes
    return whole + max(step, frame * canvas.frames + canvas.memory.bytes)
