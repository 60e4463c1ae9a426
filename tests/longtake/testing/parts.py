"""One of everything that the batteries check: small, and by the names of conf/ where it has some."""

import tiny_ltx
import torch
from builders import awake, tiny_dit, tiny_lovic, tiny_vin
from pictures import EVERY_METRIC, MeanColour
from tiny_wan import backbone_of, tiny_wan

from longtake.metrics.features import ColourTextureFeatures
from longtake.metrics.frechet import FrechetFrameDistance, FrechetVideoDistance
from longtake.metrics.named_features import FramesAndChanges
from longtake.rollouts.anchored import Anchored
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.free_noise import FreeNoise
from longtake.rollouts.gen_l_video import GenLVideo
from longtake.rollouts.segmentwise import Segmentwise
from longtake.rollouts.single_pass import SinglePass
from longtake.rollouts.spectral_blending import SpectralBlending
from longtake.samplers import DDIM, DiffusersSolver, Euler, Heun
from longtake.testing.networks import training_loss
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.pixels import PixelCodec
from networks.interfaces import VideoBatch

AROUND = {
    "dit": lambda dit: dit,
    "vin": lambda dit: tiny_vin(backbone=dit),
    "vin_plan": lambda dit: tiny_vin(plan=True, backbone=dit),
    "vin_fused": lambda dit: tiny_vin(fusion="early", backbone=dit),
    "lovic": tiny_lovic,
    "lovic_low_resolution": lambda dit: tiny_lovic(dit, low_resolution=True),
    "lovic_window_alone": lambda dit: tiny_lovic(dit, memory=False),
    "vin_lovic": lambda dit: tiny_lovic(tiny_vin(plan=True, backbone=dit), low_resolution=True),
}

UPON_WAN = ("dit", "vin_fused", "lovic", "vin_lovic")
UPON_LTX = ("dit", "vin_plan", "lovic_low_resolution", "lovic_window_alone")
"""What of these has a pretrained base: what is around one knows nothing of whose it is."""


def a_tiny_ltx(around):
    """With a gate where something comes through it: a gate alone is taught nothing."""
    attention = "joined" if around is AROUND["dit"] else "gated"
    return tiny_ltx.backbone_of(tiny_ltx.tiny_ltx(), context_attention=attention)


NETWORKS = {
    "dit_checkpointed": lambda: tiny_dit(checkpoint_activations=True),
    **{name: lambda around=around: around(tiny_dit()) for name, around in AROUND.items()},
    **{f"wan {name}": lambda name=name: AROUND[name](backbone_of(tiny_wan())) for name in UPON_WAN},
    **{f"ltx {name}": lambda name=name: AROUND[name](a_tiny_ltx(AROUND[name])) for name in UPON_LTX},
}


def loss(network, noisy, time, condition):
    """What training adds up: prediction, plan, and a segment compressed and restored."""
    total = training_loss(network, noisy, time, condition)
    if getattr(network, "compressor", None) is not None:
        context = condition.context[0]
        segment = VideoBatch(*(x[:, 0] for x in context.segments[:4]))
        restored = network.compressor(segment, context.level[:, 0], 4.0)
        total = total + restored.video.square().mean() + restored.text.square().mean()
    return total


SIZES = {"window_frames": 4, "overlap_frames": 2, "windows_per_call": 2}
ANCHORED = {"window_frames": 5, "context_frames": 2, "anchor_frames": 1}
ROLLOUTS = {
    "single_pass": lambda: SinglePass(network_part=""),
    "full_attention": lambda: SinglePass(network_part="backbone"),
    "autoregressive": lambda: Autoregressive(window_frames=5, context_frames=2),
    "anchored": lambda: Anchored(**ANCHORED, anchor_place="adjacent"),
    "anchored on the canvas": lambda: Anchored(**ANCHORED, anchor_place="canvas"),
    "free_noise": lambda: FreeNoise(window_frames=4, stride_frames=2),
    "gen_l_video": lambda: GenLVideo(**SIZES, profile="uniform"),
    "gen_l_video in triangles": lambda: GenLVideo(**SIZES, profile="triangular"),
    "spectral_blending": lambda: SpectralBlending(window_frames=4, time_cutoff=0.3, space_cutoff=0.3),
    "segmentwise": lambda: Segmentwise(
        segment_frames=4,
        window_frames=2,
        max_context=2,
        compression_ratio=4.0,
        ratio_growth=2.0,
        max_compression_ratio=8.0,
        memory_level=0.1,
    ),
    "segmentwise without overlap": lambda: Segmentwise(
        segment_frames=4,
        window_frames=0,
        max_context=1,
        compression_ratio=4.0,
        ratio_growth=1.0,
        max_compression_ratio=4.0,
        memory_level=0.0,
    ),
}


def causal(_):
    sizes = {"channels": 4, "fine_width": 8, "coarse_width": 12, "num_fine_blocks": 1, "num_coarse_blocks": 2}
    return awake(CausalVideoAutoencoder(**sizes), scale=0.05).eval().requires_grad_(False)


def pretrained(build):
    """A diffusers codec at a tiny random size, through its folder."""

    def load(folder):
        from networks.codecs.diffusers_codec import DiffusersCodec

        torch.manual_seed(0)
        model = build().eval()
        model.save_pretrained(folder / "vae")
        return DiffusersCodec(class_name=type(model).__name__, channels=4, pretrained=str(folder))

    return load


def _codecs():
    from tiny_codecs import build_hunyuan, build_ltx, build_wan

    return {"wan": pretrained(build_wan), "ltx": pretrained(build_ltx), "hunyuan": pretrained(build_hunyuan)}


CODECS = {"causal": causal, "pixels": lambda _: PixelCodec(channels=3), **_codecs()}
METRICS = EVERY_METRIC
SET_METRICS = {
    "frechet_frames": lambda: FrechetFrameDistance(features=MeanColour(), frames_per_video=4),
    "frechet_videos": lambda: FrechetVideoDistance(features=FramesAndChanges(features=ColourTextureFeatures())),
}
DIFFUSERS = ["FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler", "DPMSolverMultistepScheduler"]
SAMPLERS = {
    **{kind.__name__: lambda kind=kind: kind(num_inference_steps=30, shift=1.0) for kind in (Euler, Heun, DDIM)},
    **{
        name: lambda name=name: DiffusersSolver(scheduler=name, num_inference_steps=30, shift=1.0, settings={})
        for name in DIFFUSERS
    },
}
