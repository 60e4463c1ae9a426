"""HunyuanVideoBackbone: a pretrained HunyuanVideo text-to-video transformer where VideoDiT stands.

Axes: b batch, n tokens, k heads, d width, l text tokens, e text features; g modulation groups.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.blocks import Layout
from networks.control import FrameControl
from networks.interfaces import Condition
from networks.pretrained.backbone import ContextAttention
from networks.pretrained.joint import JointBackbone, activated
from networks.pretrained.joint_steps import Modulation, Stream, Streams, StreamsOf, modulated
from networks.pretrained.loading import Family
from networks.pretrained.quantized import BaseDtype
from networks.pretrained.rope import PairRope
from networks.pretrained.texts import one_half_precision
from networks.ranges import Count, NotNegative, Positive, Size, Text
from networks.reading import WrongFileError


def _facts(place: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a folder's model is; refuses those that are given more than a text."""
    if config.get("image_condition_type") is not None:
        raise WrongFileError(
            f"backbone: '{place}' is conditioned on images (image_condition_type={config['image_condition_type']}) "
            "and gets none here: take a text-to-video model such as hunyuanvideo-community/HunyuanVideo"
        )
    if config["patch_size_t"] != 1:
        raise WrongFileError(
            f"backbone: '{place}' has tokens of {config['patch_size_t']} latent frames, but must have one: take a "
            "model such as hunyuanvideo-community/HunyuanVideo"
        )
    return {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_embed_dim"],
        "rope_theta": config["rope_theta"],
        "patch": config["patch_size"],
        "frame_patch": 1,
    }


FAMILY = Family(
    "HunyuanVideoTransformer3DModel",
    _facts,
    "hunyuanvideo-community/HunyuanVideo",
    known={"hunyuanvideo-community/HunyuanVideo": {}},  # the class's own defaults
    adapted=r".*transformer_blocks\.\d+\.attn\.(to_q|to_k|to_v|to_out\.0)",  # not the text's refiner
)


def _both(block: Any, clock: Tensor) -> Streams:
    """A block in which video and text have modules of their own."""
    attention = block.attn
    video = Stream(
        attention.to_q,
        attention.to_k,
        attention.to_v,
        attention.norm_q,
        attention.norm_k,
        attention.to_out[0],
        block.norm1.norm,
        block.norm2,
        block.ff,
        Modulation(*activated(clock, block.norm1.linear).chunk(6, dim=-1)),
    )
    text = Stream(
        attention.add_q_proj,
        attention.add_k_proj,
        attention.add_v_proj,
        attention.norm_added_q,
        attention.norm_added_k,
        attention.to_add_out,
        block.norm1_context.norm,
        block.norm2_context,
        block.ff_context,
        Modulation(*activated(clock, block.norm1_context.linear).chunk(6, dim=-1)),
    )
    return Streams(video, text, attention.heads)


def _single(block: Any, clock: Tensor) -> Streams:
    """A block in which both go through the same modules, the mlp beside the attention."""
    attention = block.attn
    stream = Stream(
        attention.to_q,
        attention.to_k,
        attention.to_v,
        attention.norm_q,
        attention.norm_k,
        block.proj_out,
        block.norm.norm,
        None,
        partial(_widened, block),
        Modulation(*activated(clock, block.norm.linear).chunk(3, dim=-1)),
    )
    return Streams(stream, stream, attention.heads)


def _widened(block: Any, x: Tensor) -> Tensor:
    made: Tensor = block.act_mlp(block.proj_mlp(x))
    return made


class HunyuanVideoBackbone(JointBackbone):
    """Predicts noise minus video for a window of frames, each at its own time, as HunyuanVideo was trained to for one.

    Take objective=rectified_flow, whose target is HunyuanVideo's own, and text=hunyuan: the first place of its text
    holds the pooled vector of a second encoder, which modulates all blocks. The model is distilled: it is told how far
    it is guided, in one pass; a guidance.scale above 1 guides it in two besides (true_cfg_scale of its pipeline).
    Source: HunyuanVideo (arXiv 2412.03603).
    """

    family = FAMILY

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        dtype: BaseDtype,
        channels: Size,
        width: Size,
        num_heads: Size,
        text_features: Size,
        latent_fps: Positive,
        rope_theta: Positive,
        told_guidance: NotNegative,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        control: FrameControl | None,
        context_attention: ContextAttention,
        patch: Size,
    ) -> None:
        """Loads a HunyuanVideoTransformer3DModel in the format of diffusers.

        Args:
            pretrained: this and what is not named here as PretrainedBackbone's.
            subfolder: so.
            dtype: so.
            channels: so.
            width: so.
            num_heads: so.
            text_features: so.
            latent_fps: so.
            rope_theta: so.
            told_guidance: the scale that the model is told, in training and in sampling, where it was made to be told
                one (guidance_embeds); guidance_scale of its pipeline.
            lora_rank: so.
            lora_alpha: so.
            checkpoint_activations: so.
            control: so.
            context_attention: so.
            patch: so.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model, or a setting does not fit it.
        """
        super().__init__(
            pretrained=pretrained,
            subfolder=subfolder,
            dtype=dtype,
            channels=channels,
            width=width,
            num_heads=num_heads,
            text_features=text_features,
            latent_fps=latent_fps,
            rope_theta=rope_theta,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            checkpoint_activations=checkpoint_activations,
            control=control,
            context_attention=context_attention,
            patch=patch,
        )
        self.told_guidance = told_guidance

    def make_rope(self, head_width: int) -> PairRope:
        """HunyuanVideo's, of the shares that its config says."""
        config = self.model.config
        return PairRope(counts=[count // 2 for count in config.rope_axes_dim], theta=config.rope_theta)

    @property
    def blocks(self) -> Iterable[nn.Module]:
        """The model's blocks, in order: those of both streams, then those of one."""
        return (*self.model.transformer_blocks, *self.model.single_transformer_blocks)

    @property
    def flowing_weight(self) -> Tensor:
        """The patches'."""
        weight: Tensor = self.model.x_embedder.proj.weight
        return weight

    def streams(self, number: int) -> StreamsOf:
        """Blocks of both streams come first."""
        return _both if number < len(self.model.transformer_blocks) else _single

    def _of_patches(self, patches: Tensor) -> Tensor:
        layer = self.model.x_embedder.proj
        return F.linear(patches.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias).float()

    def _clocked(self, layers: Any, values: Tensor) -> Tensor:
        """Numbers `...` through sines and a small network, `... d`, float32."""
        made: Tensor = layers(self.model.time_text_embed.time_proj(values.flatten()).to(layers.linear_1.weight.dtype))
        return made.float().view(*values.shape, self.width)

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32. The model counts it in thousandths."""
        return self._clocked(self.model.time_text_embed.timestep_embedder, 1000 * time.float())

    def clock_of(self, embedded: Tensor, condition: Condition | None) -> Tensor:
        """Time, told guidance and pooled text; a memory has none of that text."""
        embedder = self.model.time_text_embed
        if embedder.guidance_embedder is not None:
            scale = torch.full((1, 1), 1000 * self.told_guidance, device=embedded.device)
            embedded = embedded + self._clocked(embedder.guidance_embedder, scale)
        dtype, count = embedder.text_embedder.linear_1.weight.dtype, self.model.config.pooled_projection_dim
        pooled = embedded.new_zeros(1, count) if condition is None else _known(condition)[:, 0, :count]
        said: Tensor = embedder.text_embedder(pooled.to(dtype).contiguous())
        return embedded + said.float().unsqueeze(1)

    def _text(self, condition: Condition, time: Tensor) -> tuple[Tensor, Tensor | None]:
        """All but the first place of the text, through the model's refiner; a row without text has places of zero."""
        refiner, mask = self.model.context_embedder, condition.text_mask
        words = _known(condition)[:, 1:].contiguous()  # a view rounds as its memory happens to lie
        mask = None if mask is None else mask[:, 1:]
        if not words.shape[1]:
            words, mask = F.pad(words, (0, 0, 0, 1)), None
        if mask is not None:
            mask = mask | ~mask.any(dim=1, keepdim=True)  # attention cannot ask nothing
        dtype = refiner.proj_in.weight.dtype
        with one_half_precision(words.device, dtype):
            return refiner(words.to(dtype), 1000 * time.float(), mask), mask

    def _head(self, video: Tensor, layout: Layout, clock: Tensor) -> Tensor:
        norm = self.model.norm_out
        scale, shift = activated(clock, norm.linear).chunk(2, dim=-1)
        made: Tensor = self.model.proj_out(modulated(norm.norm, video, layout, shift, scale))
        return made


def _known(condition: Condition) -> Tensor:
    """Text features b l e, zero where nothing is real."""
    text, mask = condition.text, condition.text_mask
    return text if mask is None else torch.where(mask.unsqueeze(-1), text, 0.0)
