"""The methods that `claims` compares: each a name for weights and what is changed of generate.py's settings.

F_local and T_s, the overlap and the distance of keyframes, are changed in sampling alone, on the same weights: the
paper's ablation does the same for F_local (trained with 8 of 20 latent frames), and may have trained anew for T_s.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from benchmarks import ROOT

GUIDANCE = 1.5
"""Scale of the text for every method. Source: our choice, the shipped VIN's."""
WEIGHTS = {"vin": "vin_freedoom_64", "lovic": "lovic_freedoom_64", "hybrid": "vin_lovic_freedoom_64"}
"""Release folders under weights/."""


class Method(NamedTuple):
    """weights: a key of WEIGHTS; overrides: of generate.py."""

    name: str
    weights: str
    overrides: tuple[str, ...]


EARLY = "network.fusion=early"
"""The paper's; what ships fuses at every step, which is `vin_fusion_all` here."""
PARITY = "rollout.context_frames=6"
"""Clean latent frames in front of a window: as many as VIN's F_local in sampling, so that both see as much.

The anchor stands beside them. StreamingT2V's own share would be 5 of 10.
"""
ROLLOUTS = ("autoregressive", "anchored", "free_noise", "gen_l_video", "spectral_blending")
CONTINUING = ("autoregressive", "anchored")
METHODS = {
    method.name: method
    for method in (
        Method("vin", "vin", (EARLY,)),
        Method("vin_without_tokens", "vin", (EARLY, "without=global_tokens")),
        *(Method(f"vin_fusion_{part}", "vin", (f"network.fusion={part}",)) for part in ("none", "mid", "late", "all")),
        # The paper's 8 and 10 of 20 latent frames are 4 and 5 of our 10.
        *(Method(f"vin_local_{frames}", "vin", (EARLY, f"network.local_frames={frames}")) for frames in (4, 5)),
        *(
            Method(f"vin_keyframes_{seconds}", "vin", (EARLY, f"+network.interface.keyframe_seconds={seconds}"))
            for seconds in ("0.5", "0.2")
        ),
        Method("full", "vin", ("rollout=full_attention",)),
        *(
            Method(rollout, "vin", (f"rollout={rollout}", *((PARITY,) if rollout in CONTINUING else ())))
            for rollout in ROLLOUTS
        ),
        Method("lovic", "lovic", ("rollout=segmentwise",)),
        Method("lovic_window_only", "lovic", ("rollout=segmentwise", "without=memory")),
        Method("hybrid", "hybrid", ()),
    )
}
SAME_AS = {"vin_fusion_early": "vin", "vin_local_6": "vin", "vin_keyframes_1.0": "vin"}
"""Ablations of one setting whose value is the paper's own (6 of 10 frames are its 12 of 20)."""
REAL = "real"


class Size(NamedTuple):
    """What every method makes alike."""

    num_frames: int
    steps: int


def choose(names: str) -> list[Method]:
    """The methods of `methods=a,b`, or all; a shipped setting by its own name is `vin`.

    Raises:
        ValueError: for a name that there is not.
    """
    if names == "all":
        return list(METHODS.values())
    wanted = [SAME_AS.get(name, name) for name in names.split(",")]
    for name in wanted:
        if name not in METHODS:
            raise ValueError(f"methods={name} is unknown: use all, or some of {', '.join([*METHODS, *SAME_AS])}")
    return [METHODS[name] for name in dict.fromkeys(wanted)]


def overrides_of(method: Method, size: Size) -> list[str]:
    """All that is changed of generate.py's settings: sampler, steps and guidance alike, whatever was trained with."""
    same = ["sampler=unipc", f"num_inference_steps={size.steps}", "guidance=classifier_free"]
    return [*same, f"guidance_scale={GUIDANCE}", f"num_frames={size.num_frames}", *method.overrides]


def config_of(
    method: Method, size: Size, *, weights: str | Path, output: str | Path, seed: int, prompts: Sequence[str]
) -> DictConfig:
    """The config that generate.py would compose."""
    cfg = compose_here("generate", [*overrides_of(method, size), f"paths.root_dir={ROOT}"])
    OmegaConf.set_struct(cfg, True)
    # Set, not overridden: texts and paths may hold what means something to Hydra.
    cfg.weights, cfg.output, cfg.seed, cfg.prompt = str(weights), str(output), seed, list(prompts)
    return cfg


def compose_here(name: str, overrides: Sequence[str]) -> DictConfig:
    """A root config of conf/."""
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return compose(name, overrides=list(overrides))


def weights_of(method: Method, options: Mapping[str, Any]) -> Path:
    """Where a method's weights are; options: paths by the keys of WEIGHTS, "" for the release folder."""
    given = options.get(method.weights, "")
    return Path(given) if given else ROOT / "weights" / WEIGHTS[method.weights]


def shown(path: Path) -> str:
    """A path as results name it: from the repository on, where it lies in there."""
    full = path.resolve()
    return full.relative_to(ROOT).as_posix() if full.is_relative_to(ROOT) else path.as_posix()
