"""A pretrained transformer out of its folder: what it must be, what fits it, and the adapters that learn."""

import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from networks.model_folder import check_model, check_pretrained, place_of, variant_of, weight_files
from networks.pretrained.quantized import LIBRARIES, check_library
from networks.reading import WrongFileError, check_finite, refused, tensor_shapes

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DTYPES |= dict.fromkeys(LIBRARIES, torch.bfloat16)
"""In which weights are loaded."""
ADAPTED = ["to_q", "to_k", "to_v", "to_out.0"]
"""What LoRA is put into, in self- and cross-attention. Source: diffusers' examples for Wan and other transformers."""


class OtherSizeError(WrongFileError):
    """A base of another size than the configuration counts on."""

    def __init__(self, found: str, remedy: str) -> None:
        """found: what is wrong. remedy: what to do in a configuration of one's own."""
        super().__init__(f"{found}: {remedy}")
        self.found = found


class Family(NamedTuple):
    """One kind of pretrained model.

    class_name: of diffusers. facts: the name of a place and its config.json, to what the model has of what the rest of
    a configuration counts on; it raises ValueError for a model that cannot be used. example: a name on the hub.
    known: config.json of some names on the hub, as arguments of the class: what they cost is told without a download.
    adapted: what LoRA is put into: ends of names, or a pattern that whole names match.
    """

    class_name: str
    facts: Callable[[str, Mapping[str, Any]], dict[str, Any]]
    example: str
    known: Mapping[str, Mapping[str, Any]]
    adapted: list[str] | str = ADAPTED


def check_words(dtype: str, lora_rank: int, lora_alpha: int) -> None:
    """Refuses settings that do not go together, before anything is read."""
    if dtype not in DTYPES:
        raise ValueError(f"backbone: dtype is '{dtype}', but must be one of {', '.join(DTYPES)}")
    if lora_rank < 0:
        raise ValueError(f"backbone: lora_rank is {lora_rank}, but must be 0 (train all weights) or more")
    if lora_rank > 0 and lora_alpha <= 0:
        raise ValueError(f"backbone: lora_alpha is {lora_alpha}, but must be above 0 for adapters to say anything")
    check_library(dtype, lora_rank)
    if lora_rank == 0 and dtype != "float32":
        raise ValueError(
            f"backbone: lora_rank=0 trains all weights, and in {dtype} they are too coarse for small steps: set "
            "backbone.dtype=float32 (trainer.precision=bf16-mixed computes in bfloat16 all the same) or lora_rank=64"
        )
    # accelerate: diffusers asks for it to load a model some parts of which stay in float32
    for library in ("accelerate", *(["peft"] * (lora_rank > 0))):
        if find_spec(library) is None:
            raise ValueError(f'backbone: a pretrained one needs the library {library}: pip install -e ".[lora]"')


def load(family: Family, pretrained: str, subfolder: str, dtype: torch.dtype, asked: Mapping[str, float]) -> Any:
    """The transformer, with every weight from its folder; asked: what the configuration counts on."""
    import diffusers

    kind: Any = getattr(diffusers, family.class_name)
    place = f"{pretrained}/{subfolder}" if subfolder else pretrained
    check_pretrained(pretrained, subfolder, "backbone.pretrained")
    on_meta = torch.get_default_device().type == "meta"
    if not on_meta:
        check_model("backbone", family.class_name, pretrained, subfolder)
    reading = f"backbone: no {family.class_name} could be loaded from {place_of(pretrained, subfolder)}"
    with refused(reading):
        if on_meta and pretrained in family.known and not Path(pretrained).exists():
            config = dict(kind(**family.known[pretrained]).config) | {"_class_name": family.class_name}
        else:
            config = dict(kind.load_config(pretrained, subfolder=subfolder))
    with refused(f"backbone: config.json in '{place}' is not one of a {family.class_name}"):
        _check(family, place, config, asked)  # before gigabytes are read
    with refused(reading):
        if on_meta:  # to be counted: its config says enough
            # by the plain function: diffusers' own warns of types, of which sizes alone are asked
            return nn.Module.to(kind.from_config(config), dtype).train()
        with torch.device("meta"):
            expected = {name: tuple(x.shape) for name, x in kind.from_config(config).named_parameters()}
    files = weight_files(pretrained, subfolder)
    if files:
        _check_weights(place, family, expected, {name: x for path in files for name, x in tensor_shapes(path).items()})
    with refused(reading):
        told = {"subfolder": subfolder, "torch_dtype": dtype, "variant": variant_of(pretrained, subfolder)}
        model, found = kind.from_pretrained(pretrained, output_loading_info=True, use_safetensors=True, **told)
    _refuse_lacking(place, family, found["missing_keys"])  # of a name on the hub
    check_finite(model.state_dict(), f"backbone: '{place}'")  # no checkpoint holds it, so none would tell
    return model.train()


def _check_weights(
    place: str, family: Family, expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> None:
    """Refuses weights that config.json does not describe, by the heads of their files."""
    _refuse_lacking(place, family, [name for name in expected if name not in found])
    for name, shape in expected.items():
        if found[name] != shape:
            raise WrongFileError(
                f"backbone: {name} in '{place}' is of {'x'.join(map(str, found[name]))}, but its config.json is of a "
                f"{family.class_name} with {'x'.join(map(str, shape))}: download both again, from one model"
            )


def _refuse_lacking(place: str, family: Family, names: list[str]) -> None:
    if names:
        raise WrongFileError(
            f"backbone: '{place}' lacks {len(names)} weights of its {family.class_name}, among them {names[0]}: "
            "download it again"
        )


def _check(family: Family, place: str, config: dict[str, Any], asked: Mapping[str, float]) -> None:
    """Refuses a model of another kind, and settings that are not the model's."""
    if config.get("_class_name") != family.class_name:
        raise WrongFileError(
            f"backbone: '{place}' holds a {config.get('_class_name')}, but must hold a {family.class_name}, such as "
            f"that of {family.example}"
        )
    if config.get("quantization_config"):
        raise WrongFileError(
            f"backbone: '{place}' is quantised already (quantization_config in its config.json): take the same model "
            "in bfloat16, and backbone.dtype=nf4 or int8 where it should be small"
        )
    has = family.facts(place, config)
    if config["out_channels"] != config["in_channels"]:
        raise WrongFileError(
            f"backbone: '{place}' reads {config['in_channels']} channels and writes {config['out_channels']}: it is "
            "given more than a noisy video, so take a text-to-video model"
        )
    for name, value in asked.items():
        if value != has[name]:
            group = {"channels": "codec.channels", "text_features": "text.features"}.get(name, f"backbone.{name}")
            raise OtherSizeError(
                f"backbone: {name} is {value}, but '{place}' has {has[name]}", f"set {group}={has[name]}"
            )


def add_lora(model: Any, rank: int, alpha: int, adapted: list[str] | str) -> None:
    """Freezes a model and puts adapters into it, which add nothing until they have learned; adapted: see Family."""
    from peft import LoraConfig

    model.requires_grad_(False)
    with warnings.catch_warnings():  # of merging into quantised weights, which is not done: see Adapters
        warnings.filterwarnings("ignore", message=".*instantiated without `get_apply_tensor_subclass`")
        model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=adapted, init_lora_weights=True))
    for parameter in model.parameters():
        if parameter.requires_grad:  # learned in float32, whatever the frozen ones are
            parameter.data = parameter.data.float()
