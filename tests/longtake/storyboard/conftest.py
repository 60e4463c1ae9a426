"""Untrained weights of each kind, and calls of generate.py with them."""

import pytest
import torch
from builders import awake
from composing import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from stories import LIMITS, probe

from longtake.releases.checkpoints import CONFIG_KEY
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan

SMALL = (
    *("text=null_text", "codec=causal", "codec.channels=4", "codec.fine_width=8", "codec.coarse_width=8"),
    *("backbone.width=32", "backbone.depth=2", "backbone.num_heads=2"),
    *("sampler=euler", "sampler.num_inference_steps=2", "datamodule=folder", "datamodule.root=nowhere"),
    *("datamodule.height=32", "datamodule.width=32"),
)
CHUNKS = ("chunk_frames=2", "train_local_frames=1", "local_frames=1")
MEMORY = (
    *("compressor=flexformer", "compressor.encoder_depth=1", "compressor.decoder_depth=1", "rollout=segmentwise"),
    *("rollout.segment_frames=2", "rollout.window_frames=1", "rollout.compression_ratio=4.0", "rollout.max_context=2"),
)
INTERFACE = ("interface.num_tokens=4", "interface.depth=1")
KINDS = {
    "vin": ("network=vin", *INTERFACE, *(f"network.{key}" for key in CHUNKS)),
    "lovic": ("network=lovic", *MEMORY),
    "hybrid": ("network=vin_lovic", *INTERFACE, *MEMORY, *(f"network.window.{key}" for key in CHUNKS)),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A checkpoint of untrained weights of each kind."""
    folder, made = tmp_path_factory.mktemp("runs"), {}
    for kind, settings in KINDS.items():
        cfg = composed("train", *SMALL, *settings, "paths.run_dir=.")
        torch.manual_seed(0)
        module = instantiate(cfg.lightning_module)
        awake(module.network, scale=0.05)
        kept = ("codec", "text", "network", "objective", "sampler", "guidance", "rollout", "lightning_module", "video")
        config = {key: OmegaConf.to_container(cfg[key], resolve=True) for key in kept}
        config["prompts"] = ["a square"]
        made[kind] = folder / f"{kind}.ckpt"
        torch.save({CONFIG_KEY: config, "state_dict": module.state_dict()}, made[kind])
    return made


@pytest.fixture
def ask(runs, tmp_path):
    """The config of a call of generate.py with weights of a kind; board: the storyboard's text, "" for none."""

    def make(kind, *overrides, board=""):
        own = [f"weights={runs[kind]}", f"output={tmp_path / 'out'}"]
        if board:
            (tmp_path / "board.yaml").write_text(board)
            own.append(f"storyboard={tmp_path / 'board.yaml'}")
        return composed("generate", *own, *overrides)

    return make


@pytest.fixture
def planned(tmp_path):
    """Plans a text, under a name by which errors know it."""

    def make(text, limits=LIMITS, facts=probe, name="story.yaml"):
        (tmp_path / name).write_text(text)
        return plan(read_storyboard(tmp_path / name, limits), limits, facts)

    return make
