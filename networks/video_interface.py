"""The Video Interface: a whole noisy video, read into a fixed number of global tokens.

Axes: b batch, f keyframes, s tokens of a frame, n global tokens, l text tokens, d width.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from networks.attention import Attend, Attention
from networks.blocks import GELU, PlainLayerNorm, feed_forward
from networks.condition import Condition
from networks.embeddings import TextEmbedding, sinusoid
from networks.processes import ALONE, Processes
from networks.ranges import Positive, Size
from networks.shared_attention import shared_attention


class InterfaceBlock(nn.Module):
    """Pre-norm attention and feed-forward on the global tokens, with adaLN-zero from diffusion time.

    Source: VIN (one cross-attention, then self-attention over [tokens; text]); pre-norm, feed-forward, QK-norm and
    time are our choice, after RIN and Perceiver.
    """

    def __init__(self, *, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm = PlainLayerNorm(width)
        self.attention = Attention(width=width, num_heads=num_heads)
        self.mlp = feed_forward(width, 4 * width, GELU())
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        tokens: Tensor,
        time: Tensor,
        others: Tensor,
        others_mask: Tensor | None,
        joint: bool,
        attend: Attend | None = None,
    ) -> Tensor:
        """tokens: b n d; time: b d; others: b m d, read beside the tokens themselves if joint, else alone.

        attend: in place of softmax attention, without mask.
        """
        modulation = rearrange(self.modulation(nn.functional.silu(time)), "b (six d) -> six b 1 d", six=6)
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = modulation
        queries = torch.addcmul(shift, self.norm(tokens), 1 + scale)
        keys = torch.cat([queries, others], dim=1) if joint else others
        if joint and others_mask is not None:
            others_mask = nn.functional.pad(others_mask, (tokens.shape[1], 0), value=True)
        tokens = torch.addcmul(tokens, gate, self.attention(queries, keys, others_mask, attend=attend))
        y = torch.addcmul(mlp_shift, self.norm(tokens), 1 + mlp_scale)
        return torch.addcmul(tokens, mlp_gate, self.mlp(y))


class VideoInterface(nn.Module):
    """Encoder (one cross-attention onto keyframe tokens) and processor (self-attention with the text).

    Source: VIN (arXiv 2503.17539). Its cost depends on the number of keyframes only through the one read.
    """

    def __init__(
        self,
        *,
        num_tokens: Size,
        width: Size,
        depth: Size,
        num_heads: Size,
        backbone_width: Size,
        text_features: Size,
        keyframe_seconds: Positive,
        latent_fps: Positive,
    ) -> None:
        """Builds the layers with random weights.

        Args:
            num_tokens: number of global tokens.
            width: features of a global token inside, a multiple of num_heads.
            depth: number of processor blocks.
            num_heads: heads of attention in each block.
            backbone_width: features of the DiT's tokens, which are read and handed out.
            text_features: features that the text encoder gives each token.
            keyframe_seconds: T_s, seconds from one keyframe to the next.
            latent_fps: latent frames a second.
        """
        super().__init__()
        self.keyframe_seconds = keyframe_seconds
        self.latent_fps = latent_fps
        self.tokens = nn.Parameter(torch.randn(num_tokens, width))
        self.read_keyframes = nn.Sequential(nn.LayerNorm(backbone_width, eps=1e-6), nn.Linear(backbone_width, width))
        self.read_time = nn.Linear(backbone_width, width)
        self.text = TextEmbedding(features=text_features, width=width)
        self.encoder = InterfaceBlock(width=width, num_heads=num_heads)
        self.processor = nn.ModuleList(InterfaceBlock(width=width, num_heads=num_heads) for _ in range(depth))
        self.write = nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Linear(width, backbone_width))

    def keyframes(self, num_frames: int, device: torch.device) -> Tensor:
        """Canvas frames that are read, f: round(j · T_s · latent_fps), at least one."""
        step = max(self.keyframe_seconds * self.latent_fps, 1.0)
        count = sum(round(j * step) < num_frames for j in range(num_frames))
        return (torch.arange(count, device=device, dtype=torch.float64) * step).round().long()

    def forward(
        self,
        keyframes: Tensor,
        frame_times: Tensor,
        time: Tensor,
        text: Tensor,
        text_mask: Tensor | None,
        frame_mask: Tensor | None = None,
        told: tuple[Tensor, Tensor | None] | None = None,
        processes: Processes = ALONE,
    ) -> Tensor:
        """Reads keyframes into global tokens.

        keyframes: b f s d_backbone, embedded patches; frame_times: b f d_backbone, embedded time of each keyframe;
        time: b d_backbone, of the noisiest frame; 1 1 d and 1 d where one time is for all. text: b l e; text_mask: b l;
        frame_mask: b f, False where a keyframe is not to be read, None for all; told: what `text` made of the text
        before, None where it has not. processes: each of which has read keyframes of its own, at least one, so that
        together they have read all. Returns b n d_backbone, the same in all of them.
        """
        video = self._video_tokens(keyframes, frame_times)
        clock = self.read_time(time)
        tokens = self.tokens.expand(video.shape[0], -1, -1)
        mask = None if frame_mask is None else repeat(frame_mask, "b f -> b (f s)", s=keyframes.shape[2])
        if processes.size == 1:
            tokens = self.encoder(tokens, clock, video, mask, joint=False)
        else:  # as written, where it is compiled: no graph holds an exchange
            attend = shared_attention(processes, mask)
            tokens = self.encoder.forward(tokens, clock, video, None, joint=False, attend=attend)
        text, text_mask = self.text(text, text_mask) if told is None else told
        for block in self.processor:
            tokens = block(tokens, clock, text, text_mask, joint=True)
        return self.write(tokens)

    def _video_tokens(self, keyframes: Tensor, frame_times: Tensor) -> Tensor:
        return rearrange(self.read_keyframes(keyframes + frame_times.unsqueeze(2)), "b f s d -> b (f s) d")

    def attention_map(self, keyframes: Tensor, frame_times: Tensor, time: Tensor) -> Tensor:
        """What each global token reads: b heads n f s, summing to 1 over f and s. Source: VIN's attention maps."""
        video = self._video_tokens(keyframes, frame_times)
        clock = nn.functional.silu(self.read_time(time)).unsqueeze(1)
        shift, scale = self.encoder.modulation(clock).chunk(6, dim=-1)[:2]
        tokens = self.tokens.expand(video.shape[0], -1, -1)
        weights = self.encoder.attention.attention_map(
            torch.addcmul(shift, self.encoder.norm(tokens), 1 + scale), video
        )
        return rearrange(weights, "b k n (f s) -> b k n f s", f=keyframes.shape[1])


class PlanHead(nn.Module):
    """Lets the global tokens predict the clean keyframes, pooled to 2 x 2, by one cross-attention.

    Source: our choice, beyond the paper, which trains the tokens through the denoising loss alone.
    """

    CELLS = 2
    FEATURES = 64

    def __init__(self, *, width: Size, num_heads: Size, channels: Size, latent_fps: Positive) -> None:
        super().__init__()
        self.latent_fps, self.channels = latent_fps, channels
        self.cells = nn.Parameter(0.02 * torch.randn(self.CELLS**2, width))
        self.place = nn.Linear(self.FEATURES, width)
        self.attention = Attention(width=width, num_heads=num_heads)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels))

    def forward(self, tokens: Tensor, canvas_frames: Tensor) -> Tensor:
        """tokens: b n d; canvas_frames: f, places of the keyframes on the canvas. Returns b c f 2 2."""
        seconds = sinusoid(canvas_frames / self.latent_fps * torch.pi, self.FEATURES, 1000)
        queries = rearrange(self.place(seconds.to(self.cells.dtype)), "f d -> 1 f 1 d") + self.cells
        queries = rearrange(queries, "1 f s d -> 1 (f s) d").expand(tokens.shape[0], -1, -1)
        pooled = self.head(self.attention(queries, tokens))
        return rearrange(pooled, "b (f p q) c -> b c f p q", p=self.CELLS, q=self.CELLS)

    def target(self, clean_keyframes: Tensor) -> Tensor:
        """Clean keyframes b c f h w averaged to b c f 2 2."""
        num_frames = clean_keyframes.shape[2]
        frames = rearrange(clean_keyframes, "b c f h w -> (b f) c h w")
        pooled = nn.functional.adaptive_avg_pool2d(frames, self.CELLS)
        return rearrange(pooled, "(b f) c p q -> b c f p q", f=num_frames)


class PlanGuide(nn.Module):
    """Tells the DiT's windows what the global tokens plan of each frame, beside the frames' control.

    A DiT that was trained without global tokens has to find out how to read them; a plan that is added to a frame's
    time embedding, as control is, needs no finding. It begins at zero. Source: our choice, beyond the paper.
    """

    def __init__(self, *, channels: int, width: int) -> None:
        """Builds the layer.

        Args:
            channels: channels of the latents.
            width: features of the DiT's tokens.
        """
        super().__init__()
        self.out = nn.Linear(channels * PlanHead.CELLS**2, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, plan: Tensor, condition: Condition) -> Condition:
        """The condition of the frames of a plan b c f 2 2, which videos without global tokens do not hear of."""
        told = self.out(rearrange(plan, "b c f p q -> b f (c p q)"))
        dropped = condition.events.get("global_tokens_dropped")
        told = told if dropped is None else told * ~dropped[:, None, None]
        frames = condition.frame_embedding
        return condition._replace(frame_embedding=told if frames is None else frames + told)
