"""What every video network is: everything that training, sampling, checks and rollouts ask of one stands here.

Axes: b batch, c channels, f frames, h height, w width, n tokens, d width of tokens.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from networks.batches import ContextTokens
from networks.condition import Condition
from networks.control import FrameControl
from networks.parts import Parts
from networks.processes import Processes

PATCH = 2
"""Side of a patch in latents unless a backbone says otherwise, one frame deep.

Source: patch (1, 2, 2) of both papers' families.
"""


class Places(Protocol):
    """Absolute places of tokens, embedded."""

    def at(self, positions: Tensor) -> Tensor:
        """positions: `... 3` as (frame, row, column), fractional; returns `... d`."""
        ...


class Backbone(Protocol):
    """The contract of `backbone=…`: a transformer that denoises one window of latents.

    It is used by itself (full attention), or inside VIN and LoViC. `networks.dit` is the reference implementation.
    """

    width: int
    depth: int
    num_heads: int
    patch: int
    frame_patch: int
    joint_text: bool
    frame_times: bool
    text_features: int
    control: FrameControl | None

    @property
    def patches(self) -> Callable[[Tensor], Tensor]:
        """Flattened patches `... (c p q)` to tokens `... d`."""
        ...

    @property
    def place(self) -> Places:
        """What `embed` adds to patches."""
        ...

    @property
    def time(self) -> Callable[[Tensor], Tensor]:
        """Diffusion times `...` to `... d`."""
        ...

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place. video: b c f h w; frame_index: b f; returns b f s d."""
        ...

    def encode_text(self, condition: Condition) -> Condition:
        """As VideoNetwork's."""
        ...

    def key_values(
        self, tokens: Tensor, positions: Tensor, sides: tuple[int, int] | None = None
    ) -> tuple[tuple[Tensor, Tensor], ...]:
        """Keys and values of context tokens b n d at b n 3 in every block, for any diffusion time.

        sides: rows and columns of the pictures that they are of, in patches; None where they have no place in one.
        """
        ...

    def __call__(
        self,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        *,
        extra_tokens: ContextTokens | None = None,
        global_embedding: Tensor | None = None,
        detached_frames: Tensor | None = None,
    ) -> Tensor:
        """noisy: b c f h w; time: b f in [0, 1], or 1 1; returns b c f h w.

        extra_tokens, global_embedding (b d): VIN's; detached_frames: b f, True where no gradient may reach the frame.
        """
        ...


class Prediction(NamedTuple):
    """What a network says in training.

    target: b c f h w, the objective's target; losses: by name, what else it learns from, each a function of the clean
    canvas b c f h w.
    """

    target: Tensor
    losses: Mapping[str, Callable[[Tensor], Tensor]] = {}


class VideoNetwork(nn.Module):
    """`network=…`: predicts the objective's target for a whole canvas.

    A network is a function of its arguments: it draws nothing, and what it is to go without is said by the condition.
    Implement `forward`, or `predict` where there are losses of the network's own; the rest has defaults.
    """

    patch: int = PATCH
    """Side in latents of the patches that become tokens."""
    frame_patch: int = 1
    """Latent frames of a token: canvases and chunks are whole numbers of them."""
    joint_text: bool = False
    """Whether text and video share one attention, so that a rollout cannot put another in its place."""
    frame_times: bool = False
    """Whether a pretrained one was trained with a time for each frame, and so knows clean ones among noisy ones."""
    ablations: tuple[str, ...] = ()
    """What `Condition.without` can leave out of this network that validation should look at."""
    chunk_frames: int | None = None
    """Latent frames of the chunks in which a canvas is denoised; None where all frames see one another."""
    has_memory: bool = False
    """Whether `condition.context` is attended to."""
    event_probs: Mapping[str, float] = {}
    """What befalls a video of training at random, by name, and how probable it is: `condition.events` says to whom."""

    @property
    def takes_segments(self) -> bool:
        """Whether it is made for segments, with room for a ContextCache in its self-attention.

        LoViC without a compressor has nothing but its null memory there: the baseline without memory.
        """
        return self.has_memory

    @property
    def backbone(self) -> Backbone:
        """The DiT, however deep; a submodule of this name is found in its place."""
        raise AttributeError(f"{type(self).__name__} names no backbone")

    @property
    def over_windows(self) -> "VideoNetwork":
        """The same weights for rollouts that cut the canvas themselves: without chunks and what guides them."""
        return self

    def num_windows(self, num_frames: int) -> int:
        """In how many windows a canvas of so many latent frames is denoised: what processes can share out."""
        return 1

    def spread(self, processes: Processes) -> None:
        """Shares the windows of every canvas out over processes, outside of training."""

    def frame_parts(self, num_frames: int) -> Parts | None:
        """Which frames of a canvas of so many each process needs in sampling; None: each needs the whole canvas.

        Where there are parts, `condition.part` names them when the network is called with the frames of one.
        """
        return None

    def spread_training(self, processes: Processes, *, in_step: bool = False) -> None:
        """Shares the windows of every canvas out in training; the processes are given the same videos and noise.

        Args:
            processes: among which; gradients are to be averaged over them.
            in_step: whether all have to call the transformer equally often, as where its weights lie in pieces.

        Raises:
            ValueError: if the network has no windows.
        """
        raise ValueError(
            f"trainer.strategy.chunks={processes.size} shares out windows side by side, which {type(self).__name__} "
            "has none of: use network=vin or vin_lovic, or trainer.strategy.chunks=1"
        )

    def encode_context(self, condition: Condition) -> Condition:
        """The condition with what is the same at all steps made once: its control embedded, its context as keys.

        What is made already stays as it is. Without either there is nothing to make.
        """
        return condition

    def encode_text(self, condition: Condition) -> Condition:
        """The condition with its text made into keys once, for all steps and windows, in sampling.

        Of one video: of several, windows would each need a copy. A condition of another text has to be encoded anew.
        """
        return condition

    def predict(self, noisy: Tensor, time: Tensor, condition: Condition) -> Prediction:
        """The prediction, and in training the network's own losses; arguments as forward's."""
        return Prediction(self(noisy, time, condition))

    def forward(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The prediction alone.

        Args:
            noisy: b c f h w.
            time: b f in [0, 1], 0 on clean frames; or 1 1 where all frames share it.
            condition: condition of the canvas.

        Returns:
            b c f h w.
        """
        return self.predict(noisy, time, condition).target
