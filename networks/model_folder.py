"""Folders of pretrained models as diffusers and transformers write them: looked through before gigabytes are read."""

import json
import re
from pathlib import Path

from networks.reading import AGAIN, MOST_TEXT_BYTES, WrongFileError, check_download, open_tensors, read_json, read_text

_STEMS = ("diffusion_pytorch_model", "model")
"""Names of weights, as diffusers and transformers have them."""
_VARIANT = re.compile(rf"({'|'.join(_STEMS)})\.(?:safetensors\.index\.(\w+)\.json|(\w+)\.safetensors)")
_HUB = re.compile(r"https?://huggingface\.co/([\w.-]+/[\w.-]+)")
_FILES = (".safetensors", ".gguf", ".bin", ".ckpt", ".pt", ".pth")
_WHOLE = "give the folder of a whole pipeline of diffusers, or its name on the hub"


def check_pretrained(pretrained: str, subfolder: str = "", setting: str = "pretrained") -> None:
    """Looks at each file of a pretrained model, before a library reads gigabytes or fails without a reason.

    Args:
        pretrained: a folder; a name on the hub is not looked at.
        subfolder: where the model lies inside; "" for the top.
        setting: that names it, for messages.

    Raises:
        WrongFileError: for a place that is not there, the first JSON, safetensors or tokenizer file that is broken, a
            missing piece of the weights, or weights in a form that nothing here reads.
    """
    _check_place(pretrained, subfolder, setting)
    folder = model_folder(pretrained, subfolder)
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    gguf = [path for path in files if path.suffix == ".gguf"]
    if gguf and not any(path.suffix in (".safetensors", ".bin") for path in files):
        raise WrongFileError(_of_gguf(gguf[0]))
    for path in weight_files(pretrained, subfolder):
        if not path.is_file():
            raise WrongFileError(f"{path} is missing, a piece of the weights that {folder} has an index of: {AGAIN}")
    for path in files:
        if path.suffix == ".json":
            if path.name != "vocab.json":  # large, and read only by slow tokenizers
                _check_json(path)
        elif path.suffix == ".safetensors":
            _check_types(path)
        elif path.suffix in (".model", ".bin", ".txt"):
            check_download(path)


def check_model(part: str, class_name: str, pretrained: str, subfolder: str = "") -> None:
    """Refuses a folder of diffusers without a config or without weights, and tells what lies there instead.

    Args:
        part: of the configuration, for the message.
        class_name: of the model that is looked for.
        pretrained: a folder; a name on the hub is not looked at.
        subfolder: where the model lies inside; "" for the top.

    Raises:
        WrongFileError: so.
    """
    folder = model_folder(pretrained, subfolder)
    if not folder.is_dir():
        return
    if not (folder / "config.json").is_file():
        inner = sorted(path.name for path in folder.iterdir() if (path / "config.json").is_file())
        advice = f"set {part}.subfolder to one of {', '.join(inner)}" if inner else _WHOLE
        raise WrongFileError(f"{part}: {folder} has no config.json of a {class_name} ({_listed(folder)}): {advice}")
    if not any(path.name.startswith(_STEMS[0]) for path in weight_files(pretrained, subfolder)):
        raise WrongFileError(
            f"{part}: {folder} has no {_STEMS[0]}.safetensors ({_listed(folder)}): {AGAIN}, as safetensors in "
            "diffusers' format"
        )


def place_of(pretrained: str, subfolder: str = "") -> str:
    """What a model's place is called in messages.

    Args:
        pretrained: a folder, or a name on the hub.
        subfolder: where the model lies inside; "" for the top.

    Returns:
        Both in quotes, and that the hub was meant where nothing of that name lies here.
    """
    place = f"'{pretrained}/{subfolder}'" if subfolder else f"'{pretrained}'"
    return place if Path(pretrained).exists() else f"{place} (no folder here, so a name on the hub)"


def model_folder(pretrained: str, subfolder: str = "") -> Path:
    """Where the files of a model are: in the subfolder, or at the top where that bears the subfolder's name.

    Args:
        pretrained: a folder, or a name on the hub.
        subfolder: where the model should lie inside.

    Returns:
        The folder, whether it is there or not.
    """
    inside, top = Path(pretrained, subfolder), Path(pretrained)
    return top if not inside.is_dir() and top.name == subfolder else inside


def weight_files(pretrained: str, subfolder: str = "") -> list[Path]:
    """The safetensors files of a pretrained model in a folder: the pieces that its index names, or the only one.

    Those of a variant, such as fp16, where there are no others.

    Args:
        pretrained: a folder; of a name on the hub there are none.
        subfolder: where the model lies inside; "" for the top.

    Returns:
        Their paths, whether they are there or not.

    Raises:
        WrongFileError: if an index is broken, or there are several variants.
    """
    folder, variant = model_folder(pretrained, subfolder), variant_of(pretrained, subfolder)
    for index in sorted(folder.glob(f"*.safetensors.index{f'.{variant}' if variant else ''}.json")):
        if index.name.count(".") == (4 if variant else 3):
            named = read_json(index).get("weight_map")
            if not isinstance(named, dict):
                raise WrongFileError(f"{index} has no weight_map: {AGAIN}")
            return [folder / Path(str(name)).name for name in sorted(set(named.values()), key=str)]
    if variant:
        return sorted(folder.glob(f"*.{variant}.safetensors"))
    return [path for path in sorted(folder.glob("*.safetensors")) if path.name.count(".") == 1]


def variant_of(pretrained: str, subfolder: str = "") -> str | None:
    """The variant that a folder has its weights in, such as fp16.

    Args:
        pretrained: a folder; of a name on the hub there is none.
        subfolder: where the model lies inside; "" for the top.

    Returns:
        Its name, None where there are weights without one, or none at all.

    Raises:
        WrongFileError: if there are several.
    """
    folder = model_folder(pretrained, subfolder)
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    plain = {f"{stem}.safetensors{more}" for stem in _STEMS for more in ("", ".index.json")}
    found = sorted({match[2] or match[3] for name in names if (match := _VARIANT.fullmatch(name))})
    if not found or plain.intersection(names):
        return None
    if len(found) > 1:
        raise WrongFileError(f"{folder} has the weights in variants {', '.join(found)} and none without: keep one")
    return str(found[0])


def _check_place(pretrained: str, subfolder: str, setting: str) -> None:
    """What is no folder must be able to be a name on the hub."""
    top = Path(pretrained)
    if top.is_file():
        if top.suffix == ".gguf":
            raise WrongFileError(_of_gguf(top))
        raise WrongFileError(
            f"{setting}={pretrained} is one file, but a folder of diffusers or transformers is read, with config.json "
            "and safetensors: download the repository as a folder"
        )
    if top.is_dir():
        if model_folder(pretrained, subfolder).is_dir():
            return
        advice = f"give {top.parent}" if (top.parent / subfolder).is_dir() else _WHOLE
        if (top / "config.json").is_file() and advice == _WHOLE:
            advice += ', or set its subfolder to "" if this is the model itself'
        raise WrongFileError(f"{setting}={top} has no folder {subfolder} ({_listed(top)}): {advice}")
    if address := _HUB.match(pretrained):
        raise WrongFileError(f"{setting}={pretrained} is an address, but a folder or a name is read: give {address[1]}")
    if pretrained.startswith(("/", ".", "~")) or pretrained.count("/") > 1 or top.suffix in _FILES:
        raise WrongFileError(f"{setting}={pretrained} is not there: give a folder that is, or a name on the hub")


def _listed(folder: Path) -> str:
    """A few names of what lies in a folder."""
    names = sorted(path.name + "/" * path.is_dir() for path in folder.iterdir())
    return f"it holds {', '.join(names[:5])}{' and more' if len(names) > 5 else ''}" if names else "it is empty"


def _of_gguf(path: Path) -> str:
    return f"{path} is quantised in GGUF, which is not read here: take safetensors in bfloat16"


def _check_types(path: Path) -> None:
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118
            kind = file.get_slice(name).get_dtype()
            if kind.startswith("F8") or (kind in ("I8", "U8") and name.endswith("weight")):
                raise WrongFileError(
                    f"{path} holds weights in 8 bits ({name} is {kind}), which need scales that no library reads from "
                    "here: take the same model in bfloat16"
                )


def _check_json(path: Path) -> None:
    check_download(path)
    if path.stat().st_size <= MOST_TEXT_BYTES:
        try:
            json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise WrongFileError(f"{path} is no JSON ({type(error).__name__}): {AGAIN}") from error
