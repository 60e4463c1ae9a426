"""`generate.py --help` and `--cfg job`: the settings with the values that the weights bring, in place of null."""

import sys
from collections.abc import Sequence
from typing import Any

from longtake.configs import CONF

_HEAD = """Makes long videos: python generate.py output=DIR key=value …
Choices: rollout={rollout}; sampler={sampler}; guidance={guidance}
Below stand the values of this command; what is not said is as {weights} bring it.
"""


def asked_for(arguments: Sequence[str]) -> str:
    """`help` or `job`, if the command line asks for the settings and nothing that Hydra alone can tell; else ""."""
    words = list(arguments)
    if "--help" in words or "-h" in words:
        return "help"
    shows = [place for place, word in enumerate(words) if word in ("--cfg", "-c")]
    is_job = bool(shows) and words[shows[0] + 1 : shows[0] + 2] == ["job"]
    return "job" if is_job and not {"--package", "-p"} & {*words} else ""


def show_settings(arguments: Sequence[str]) -> None:
    """Prints the settings; null stays where the weights cannot be read, and their error goes to stderr.

    Args:
        arguments: arguments of the command line.

    Raises:
        ValueError: for a setting that cannot be.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    kind, skipped = asked_for(arguments), {"--help", "-h", "--cfg", "-c", "job", "--resolve"}
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg: Any = compose("generate", [word for word in arguments if word not in skipped])
    cfg.paths.root_dir = "."  # Hydra's own value is known to a job alone
    settings = filled(cfg)
    if kind == "help":
        options = {
            group: " | ".join(sorted(path.stem for path in (CONF / group).glob("*.yaml")))
            for group in ("rollout", "sampler", "guidance")
        }
        sys.stdout.write(_HEAD.format(weights=cfg.weights, **options) + "\n")
    sys.stdout.write(OmegaConf.to_yaml(OmegaConf.create(settings)))


def filled(cfg: Any) -> dict[str, Any]:
    """The settings of a call, with what its weights bring in place of null."""
    from omegaconf import OmegaConf

    from longtake.cli.changes import changes_of, with_changes
    from longtake.releases.bases import base_of
    from longtake.releases.parts import refuse_no_videos
    from longtake.releases.reading import read_run

    settings: Any = OmegaConf.to_container(cfg)
    settings["weights"] = cfg.weights
    settings.pop("paths")
    try:
        trained = read_run(cfg.weights, to_sample=True)[0]
        refuse_no_videos(trained, f"weights={cfg.weights}")
        config = with_changes(trained, changes_of(cfg))
    except ValueError as error:
        sys.stderr.write(f"note: null stands for what these weights would say ({error})\n")
        return settings
    brought: dict[str, Any] = {group: config[group] for group in ("rollout", "sampler", "guidance") if group in config}
    brought |= {key: config["video"][key] for key in ("height", "width") if settings[key] is None}
    brought["num_inference_steps"] = config["sampler"]["num_inference_steps"]
    brought["guidance_scale"] = config["guidance"].get("scale")
    brought["compression_ratio"] = config["rollout"].get("compression_ratio")
    if settings["prompt"] is None and config["prompts"]:
        brought["prompt"] = config["prompts"][: settings["num_videos"]]
    inner = {**(config["network"].get("window") or {}), **config["network"]}
    brought["network"] = {key: inner.get(key) for key in settings["network"]}
    brought |= {part: {"pretrained": base_of(config, part)} for part in ("text", "codec", "backbone")}
    brought["codec"]["tiling"] = config["codec"].get("tiling")
    return {**settings, **brought}
