"""What makes a documented training one of a second: small parts, one step, and films in place of worlds to render.

Those that choose no more than an experiment validate themselves and make samples, and some more; the others end before.
"""

import re

from builders import CHANNELS, HEADS, WIDTH
from tiny_runs import MEMORY, SEGMENTS, TINY
from tiny_texts import POOLED, TEXT

SIZES = ("backbone.", "codec.", "interface.", "compressor.")
SMALL = ["datamodule.height=32", "datamodule.width=32"]
CLIPS = ["datamodule.num_frames=[9]", "datamodule.hop_frames=9"]
ROWS = [each for each in SEGMENTS if not each.startswith("datamodule=")]
LOVIC = [each for each in MEMORY if each != "~pretrained.window"]
VALIDATING = r"train(\.py)?( experiment=\w+)?( datamodule\.root=DIR)?$|resume=|debug=|fsdp2 callbacks="
BASES = ("wan", "ltx", "cogvideox", "hunyuan")
"""Pretrained ones, of which `tiny_pipelines` has tiny ones."""
OF_BASE = f"experiment=vin_({'|'.join(BASES)})"


def _tiny(*left_out: str) -> list[str]:
    """Small parts; left_out: beginnings of settings that an experiment does not have."""
    return [x for x in TINY if not x.startswith(("datamodule", "trainer.", "global_", "clips_per_", *left_out))]


def base_of(name: str) -> list[str]:
    """Settings by which a pretrained base is the tiny one in the folder `bases`."""
    return [
        *(f"backbone.pretrained=bases/{name}", f"backbone.width={WIDTH}", f"backbone.num_heads={HEADS}"),
        *(f"codec.channels={CHANNELS}", "codec.dtype=float32"),  # in float16 a CPU takes ten times as long
        *(f"text.features={TEXT}", "text.max_length=8"),
        *([f"text.pooled_features={POOLED}", "text.template_tokens=2"] if name == "hunyuan" else []),
    ]


WINDOW = _tiny("network.", "interface.", "lightning_module.")
CODEC = [
    *_tiny("callbacks.", "sampler.", "network.", "interface.", "lightning_module.", *SIZES),
    *CLIPS,
    *("codec.channels=4", "codec.fine_width=8", "codec.coarse_width=8"),
]
PARTS = {
    OF_BASE: [
        *_tiny("text=", "codec.", "backbone."),
        *CLIPS,
        *(f"interface.width={WIDTH}", f"interface.num_heads={HEADS}", "backbone.lora_rank=4"),
    ],
    "codec=freedoom": _tiny("callbacks.", "sampler.", "network.", "interface.", "lightning_module.", "backbone.")
    + CLIPS,
    "experiment=codec_mazes_128": [*CODEC, "lightning_module.begin_from=null"],  # of other widths
    "experiment=codec_": CODEC,
    "experiment=flexformer_": [
        *_tiny("callbacks.", "sampler.", "network.", "interface.", "lightning_module."),
        *ROWS,
        "lightning_module.validation_rates=[4]",
    ],
    "experiment=lovic_freedoom": WINDOW + ROWS + LOVIC,
    "experiment=lovic_mazes": [
        *(WINDOW + ROWS + LOVIC),
        "lightning_module.tasks.min_context=1",
        "lightning_module.tasks.first_target=1",
    ],
    "experiment=vin_lovic_": [
        *_tiny("network.", "lightning_module."),
        *(ROWS + LOVIC),
        "network.window.chunk_frames=2",
        "network.window.train_local_frames=1",
        "network.window.local_frames=1",
    ],
    "network=dit|experiment=frames_": _tiny("network.", "interface.") + CLIPS,
    "": _tiny() + CLIPS,
}
"""By the first words that a command has: its parts, and its clips or rows of segments."""
ALSO = {
    "": [
        "trainer.max_steps=1",
        "trainer.val_check_interval=1",
        "trainer.log_every_n_steps=1",
        "global_batch_size=2",
        "clips_per_device=2",
        "datamodule.num_validation_clips=2",
    ],
    f"^((?!{VALIDATING}).)*$": ["+trainer.limit_val_batches=0"],
    "resume=": ["trainer.max_steps=2"],
    "debug=fast": ["trainer.max_steps=3", "trainer.val_check_interval=3"],
    f"trainer=(gpu|ddp|fsdp2|chunks)|{OF_BASE}": ["trainer.accelerator=cpu"],
    "trainer=(ddp|fsdp2|chunks)": ["trainer.devices=2"],
    "weights/": ["trainer.precision=32-true"],  # bfloat16 takes many times as long on a CPU without it
    "num_nodes=": ["trainer.devices=1"],
    **{f"experiment=vin_{name}": base_of(name) for name in BASES},
    r"^((?!\.sizes).)*$": SMALL,
    "^((?!datamodule.root=(DIR|films)).)*$": ["datamodule.make=null", "datamodule.root=DIR", "datamodule.table=null"],
    "control=|experiment=(vin|lovic)_mazes": ["datamodule.table=videos.csv"],  # which has poses
    "^((?!pretrained).)*experiment=((vin_)?lovic_|vin_mazes)((?!pretrained).)*$": [
        "pretrained=null"
    ],  # what is shipped is larger
}
"""By each of the words that a command has."""


def of_training(line: str) -> list[str]:
    """The settings that go behind a documented training.

    Args:
        line: as it is documented; one that begins from shipped weights keeps the sizes of their parts.
    """
    parts = next(settings for words, settings in PARTS.items() if re.search(words, line))
    if "weights/" in line:
        parts = [setting for setting in parts if not setting.startswith((*SIZES, "text="))]
    return [*parts, *(setting for words, settings in ALSO.items() if re.search(words, line) for setting in settings)]


def of_cache(line: str) -> list[str]:
    """The settings that go behind a documented `longtake cache`."""
    base = next((base_of(name) for name in BASES if f"experiment=vin_{name}" in line), ["text=null_text"])
    return ["datamodule=folder", "datamodule.root=DIR", *SMALL, *CLIPS, *base]
