"""WanBackbone: a pretrained Wan 2.1 text-to-video transformer where VideoDiT stands, trained whole or through LoRA.

Axes: b batch, c channels, f frames, h height, w width (latents); n tokens, d width; s tokens of one frame.
"""

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from networks.blocks import KeyValue, whole_groups
from networks.control import NAME, FrameControl, add_frames, embed_control
from networks.embeddings import PlaceEmbedding
from networks.interfaces import Backbone, Condition, ContextTokens, TokenGrid, VideoNetwork
from networks.pretrained.wan_blocks import THETA, WanRope, denoise, modulated, remember
from networks.ranges import Count, Dtype, Positive, Size, Text
from networks.reading import check_pretrained, reason_of
from networks.sequence import PATCH, group_times, join, positions_of, to_patches

CLASS_NAME = "WanTransformer3DModel"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TEXT_TOKENS = 512
"""Every caption is so many tokens to Wan. Source: diffusers' WanPipeline, max_sequence_length."""
ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"]
"""What LoRA is put into, in self- and cross-attention. Source: diffusers' examples for Wan and other transformers."""


class WanBackbone(VideoNetwork):
    """Predicts noise minus video for a window of frames, each at its own time, as Wan was trained to for one time.

    The contract is that of `networks.dit.VideoDiT`; take objective=rectified_flow, whose target is Wan's own. At the
    start, with one time for all frames, it is the loaded model to the last few bits, whatever lora_rank is. Beside the
    model stands an embedding of absolute place that says nothing at first: VIN's chunks are told apart by it, as RoPE
    knows distances alone (our choice, as in VideoDiT).

    A release holds every weight, the loaded ones too. Still, building from its config.json first loads `pretrained`,
    which has to be there as it was in training, and then replaces each of its weights.
    Source: Wan (arXiv 2503.20314); a time for every frame enters as a time for every token does in Wan 2.2.
    """

    def __init__(
        self,
        *,
        pretrained: Text,
        subfolder: str,
        dtype: Dtype,
        channels: Size,
        width: Size,
        num_heads: Size,
        text_features: Size,
        latent_fps: Positive,
        rope_theta: Positive,
        lora_rank: Count,
        lora_alpha: Size,
        checkpoint_activations: bool,
        control: FrameControl | None = None,
    ) -> None:
        """Loads a WanTransformer3DModel in the format of diffusers.

        pretrained: a folder, or a name on the hub; subfolder: where the transformer lies inside, "" for the top.
        dtype: of the loaded weights; what is added to them is float32. lora_rank: 0 trains all weights, above 0
        freezes the loaded ones and trains adapters of that rank, which weigh lora_alpha / lora_rank.
        channels, width, num_heads, text_features, rope_theta: what the rest of the configuration counts on; checked
        against the model's. latent_fps: latent frames a second, by which places are counted. control: what embeds the
        numbers of every frame, None where there are none; it learns in float32 whatever lora_rank is.

        Raises:
            ValueError: if nothing can be loaded from there, it is another kind of model than a text-to-video one with
                patches of 1 x 2 x 2, or a setting does not fit it.
        """
        super().__init__()
        _check_words(dtype, lora_rank, lora_alpha)
        asked = {"channels": channels, "width": width, "num_heads": num_heads, "text_features": text_features}
        self.model = _load(pretrained, subfolder, DTYPES[dtype], {**asked, "rope_theta": rope_theta})
        self.width = width
        self.depth = len(self.model.blocks)
        self.num_heads = num_heads
        self.text_features = text_features
        self.checkpoint_activations = checkpoint_activations
        self.step = denoise  # compiled where callbacks=compiled
        self.place = PlaceEmbedding(width=width, latent_fps=latent_fps)
        nn.init.zeros_(self.place.project.weight)
        nn.init.zeros_(self.place.project.bias)
        self.control = control
        self.ablations = () if control is None else (NAME,)
        self.rope = WanRope(head_width=width // num_heads)
        if lora_rank > 0:
            _add_lora(self.model, lora_rank, lora_alpha)

    @property
    def backbone(self) -> Backbone:
        """Itself."""
        return self

    def encode_context(self, condition: Condition) -> Condition:
        """Its control embedded, once for all steps."""
        return embed_control(self.control, condition)

    def patches(self, patches: Tensor) -> Tensor:
        """Flattened patches `... (c p q)` to tokens `... d`, float32: Wan's convolution as a linear map."""
        layer = self.model.patch_embedding
        return F.linear(patches.to(layer.weight.dtype), layer.weight.flatten(1), layer.bias).float()

    def time(self, time: Tensor) -> Tensor:
        """Diffusion time `...` in [0, 1] to `... d`, float32. Wan counts it in thousandths."""
        embedder = self.model.condition_embedder
        features = embedder.timesteps_proj(1000 * time.float().flatten())
        embedded = embedder.time_embedder(features.to(embedder.time_embedder.linear_1.weight.dtype))
        return embedded.float().view(*time.shape, self.width)

    def embed(self, video: Tensor, frame_index: Tensor) -> Tensor:
        """Patches with their absolute place. video: b c f h w; frame_index: b f; returns b f s d, float32.

        Raises:
            ValueError: if the latents' sides are odd.
        """
        patches = to_patches(video)
        height, width = video.shape[3] // PATCH, video.shape[4] // PATCH
        return self.patches(patches) + self.place(frame_index, height, width).float()

    def _flowing(self, device: torch.device) -> torch.dtype:
        """The type of what flows between blocks: the weights', or autocast's where that is the other half precision."""
        dtype: torch.dtype = self.model.patch_embedding.weight.dtype
        known = torch.amp.is_autocast_available(device.type)  # meta, where FLOPs are counted, has none
        if dtype != torch.float32 and known and torch.is_autocast_enabled(device.type):
            return torch.get_autocast_dtype(device.type)
        return dtype

    def _modulation(self, embedded: Tensor) -> Tensor:
        embedder = self.model.condition_embedder
        projected = embedder.time_proj(F.silu(embedded).to(embedder.time_proj.weight.dtype))
        return rearrange(projected, "... (six d) -> ... six d", six=6)

    def _text(self, text: Tensor, text_mask: Tensor | None) -> Tensor:
        """Text features b l e to b 512 d.

        Wan attends to all of its 512 places without a mask: it was trained with features of zero behind the caption,
        so they have to be there, and what a mask hides is zero too. A row without text is 512 such places.
        """
        if text.shape[1] > TEXT_TOKENS:
            raise ValueError(
                f"a caption of {text.shape[1]} text tokens is longer than the {TEXT_TOKENS} that Wan reads: set "
                f"text.max_length={TEXT_TOKENS}"
            )
        known = text if text_mask is None else torch.where(text_mask.unsqueeze(-1), text, 0.0)
        embedder = self.model.condition_embedder.text_embedder
        padded = F.pad(known, (0, 0, 0, TEXT_TOKENS - text.shape[1]))
        tokens: Tensor = embedder(padded.to(embedder.linear_1.weight.dtype))
        return tokens

    def forward(
        self,
        noisy: Tensor,
        time: Tensor,
        condition: Condition,
        *,
        extra_tokens: ContextTokens | None = None,
        global_embedding: Tensor | None = None,
        detached_frames: Tensor | None = None,
    ) -> Tensor:
        """Predicts the target for every frame; arguments as VideoDiT's. Returns b c f h w in noisy's type."""
        grid = TokenGrid(noisy.shape[2], noisy.shape[3] // PATCH, noisy.shape[4] // PATCH)
        frames = self.embed(noisy, condition.frame_index)
        rotation = self.rope(positions_of(condition.frame_index, grid.rows, grid.columns))
        sequence = join(frames, rotation, grid, condition, extra_tokens, detached_frames)
        tokens, layout, rotation, key_mask, attend = sequence
        tokens = tokens.to(self._flowing(tokens.device))
        condition = self.encode_context(condition)
        embedded = add_frames(self.time(group_times(time)), condition, others=1)
        if global_embedding is not None:
            embedded = embedded + global_embedding.unsqueeze(1)
        modulation = whole_groups(self._modulation(embedded), layout, tokens.shape[1])
        text = self._text(condition.text, condition.text_mask)
        memory = condition.memory
        for number, block in enumerate(self.model.blocks):
            remembered = None if memory is None else memory.layers[number]
            arguments = (tokens, layout, modulation, rotation, key_mask, text, remembered, attend)
            if self.checkpoint_activations and self.training:
                tokens = checkpoint(partial(self.step, block), *arguments, use_reentrant=False)
            else:
                tokens = self.step(block, *arguments)
        shift, scale = (embedded.unsqueeze(2) + self.model.scale_shift_table.float()).unbind(2)
        video = tokens[:, : layout.num_frames * layout.per_frame]
        video = self.model.proj_out(modulated(self.model.norm_out, video, layout, shift, scale))
        axes = {"h": grid.rows, "w": grid.columns, "p": PATCH, "q": PATCH}
        return rearrange(video, "b (f h w) (p q c) -> b c f (h p) (w q)", **axes).to(noisy.dtype)

    def key_values(self, tokens: Tensor, positions: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of context tokens b n d in every block, as VideoDiT's; positions: b n 3."""
        modulation = self._modulation(self.time(torch.zeros((), device=tokens.device)))
        rotation = self.rope(positions)
        tokens = tokens.to(self._flowing(tokens.device))
        layers = []
        for block in self.model.blocks:
            tokens, key_value = remember(block, tokens, modulation, rotation)
            layers.append(key_value)
        return tuple(layers)


def _check_words(dtype: str, lora_rank: int, lora_alpha: int) -> None:
    if dtype not in DTYPES:
        raise ValueError(f"backbone: dtype is '{dtype}', but must be one of {', '.join(DTYPES)}")
    if lora_rank < 0:
        raise ValueError(f"backbone: lora_rank is {lora_rank}, but must be 0 (train all weights) or more")
    if lora_rank > 0 and lora_alpha <= 0:
        raise ValueError(f"backbone: lora_alpha is {lora_alpha}, but must be above 0 for adapters to say anything")
    if lora_rank == 0 and dtype != "float32":
        raise ValueError(
            f"backbone: lora_rank=0 trains all weights, and in {dtype} they are too coarse for small steps: set "
            "backbone.dtype=float32 (trainer.precision=bf16-mixed computes in bfloat16 all the same) or lora_rank=64"
        )
    # accelerate: diffusers asks for it to load a model some parts of which stay in float32
    for library in ("accelerate", *(["peft"] * (lora_rank > 0))):
        if find_spec(library) is None:
            raise ValueError(f'backbone: Wan needs the library {library}: pip install -e ".[lora]"')


def _load(pretrained: str, subfolder: str, dtype: torch.dtype, asked: Mapping[str, float]) -> Any:
    from diffusers import WanTransformer3DModel

    place = f"{pretrained}/{subfolder}" if subfolder else pretrained
    check_pretrained(pretrained, subfolder)
    try:
        config = WanTransformer3DModel.load_config(pretrained, subfolder=subfolder)
        _check(place, dict(config), asked)  # before gigabytes are read
        if torch.get_default_device().type == "meta":  # to be counted: its config says enough
            return WanTransformer3DModel.from_config(config).to(dtype).train()
        model, found = WanTransformer3DModel.from_pretrained(
            pretrained, subfolder=subfolder, torch_dtype=dtype, output_loading_info=True, use_safetensors=True
        )
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"backbone: no {CLASS_NAME} could be loaded from '{place}': {reason_of(error)}") from error
    if found["missing_keys"]:
        raise ValueError(
            f"backbone: '{place}' lacks {len(found['missing_keys'])} weights of its {CLASS_NAME}, among them "
            f"{found['missing_keys'][0]}: download it again"
        )
    return model.train()


def _check(place: str, config: dict[str, Any], asked: Mapping[str, float]) -> None:
    """Refuses a model of another kind, and settings that are not the model's."""
    if config.get("_class_name") != CLASS_NAME:
        raise ValueError(f"backbone: '{place}' holds a {config.get('_class_name')}, but must hold a {CLASS_NAME}")
    for name in ("added_kv_proj_dim", "image_dim"):
        if config.get(name) is not None:
            raise ValueError(
                f"backbone: '{place}' is conditioned on images ({name}={config[name]}), which nothing here gives: take "
                "a text-to-video model such as Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
            )
    if tuple(config["patch_size"]) != (1, PATCH, PATCH):
        raise ValueError(f"backbone: '{place}' has patches of {tuple(config['patch_size'])}, but must have (1, 2, 2)")
    if config["out_channels"] != config["in_channels"]:
        raise ValueError(
            f"backbone: '{place}' reads {config['in_channels']} channels and writes {config['out_channels']}: it is "
            "given more than a noisy video, so take a text-to-video model"
        )
    has = {
        "channels": config["in_channels"],
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "num_heads": config["num_attention_heads"],
        "text_features": config["text_dim"],
        "rope_theta": THETA,
    }
    for name, value in asked.items():
        if value != has[name]:
            group = {"channels": "codec.channels", "text_features": "text.features"}.get(name, f"backbone.{name}")
            raise ValueError(f"backbone: {name} is {value}, but '{place}' has {has[name]}: set {group}={has[name]}")


def _add_lora(model: Any, rank: int, alpha: int) -> None:
    """Freezes a model and puts adapters into its attention, which add nothing until they have learned."""
    from peft import LoraConfig

    model.requires_grad_(False)
    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=ADAPTED, init_lora_weights=True))
    for parameter in model.parameters():
        if parameter.requires_grad:  # learned in float32, whatever the frozen ones are
            parameter.data = parameter.data.float()
