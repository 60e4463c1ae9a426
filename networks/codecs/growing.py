"""A codec that begins from a trained one with fewer latent channels, or of a smaller picture."""

from pathlib import Path

import torch
from einops import rearrange, repeat
from torch import Tensor

from networks.codecs.causal import CausalVideoAutoencoder
from networks.saving import load_pretrained, read_config


@torch.no_grad()
def begin_from(codec: CausalVideoAutoencoder, folder: str | Path) -> None:
    """Copies a trained codec's weights; latent channels beyond its own begin at random and without effect.

    Where the codec's patch is a multiple of the trained one's, the codec begins as the trained one does on a picture
    that many times smaller: the encoder sees means of squares of pixels, and the decoder repeats each pixel. What has
    learnt to draw edges needs not learn it again for another world or size.

    Args:
        codec: new codec with the same widths and blocks, at least as many channels, and the same patch or a multiple.
        folder: folder of the trained codec.

    Raises:
        ValueError: if the folder holds no such codec.
    """
    channels = int(read_config(Path(folder)).get("channels", 0))
    trained = load_pretrained(folder=folder, channels=channels)
    begun = trained.state_dict()
    own = codec.state_dict()
    patch = getattr(trained, "patch", 0)
    if channels > codec.channels or own.keys() != begun.keys() or not patch or codec.patch % patch:
        raise ValueError(
            f"{folder} holds no codec of these blocks with at most {codec.channels} channels and a patch that divides "
            f"{codec.patch}: give another folder, or the codec the folder's widths, blocks and patch"
        )
    for name, axis in _pixel_axes(codec).items():
        begun[name] = _enlarged(begun[name], axis, patch, codec.patch // patch, mean=name.startswith(_ENCODING))
    for name, value in own.items():
        weights = begun[name].to(value)
        if value.shape == weights.shape:
            value.copy_(weights)
            continue
        grown = 1 if name.startswith("decoder.") else 0  # channels come into the decoder and out of the encoder
        if value.narrow(grown, 0, channels).shape != weights.shape:
            raise ValueError(
                f"{folder}: {name} is {tuple(weights.shape)}, but the codec's is {tuple(value.shape)}: give the "
                "codec the folder's widths"
            )
        value.narrow(grown, 0, channels).copy_(weights)
        if grown:
            value.narrow(grown, channels, value.shape[grown] - channels).zero_()


_ENCODING = ("encoder.", "linear.down.")


def _pixel_axes(codec: CausalVideoAutoencoder) -> dict[str, int]:
    """The axis (c t p q) of folded pixels, of each weight that has one."""
    last = f"decoder.layers.{len(codec.decoder.layers) - 1}"
    axes = {"encoder.layers.0.weight": 1, f"{last}.weight": 0, f"{last}.bias": 0}
    linear = {"linear.down.weight": 1, "linear.up.weight": 1, "linear.up.bias": 0}
    return axes if codec.linear is None else {**axes, **linear}


def _enlarged(weights: Tensor, axis: int, patch: int, times: int, *, mean: bool) -> Tensor:
    """Weights whose axis of folded pixels has so many times the pixels along each side, each square of them alike.

    weights: any shape; axis: that of folded pixels; patch: its pixels along a side; times: factor along a side; mean:
    whether the square stands for one pixel together, as in an encoder.
    """
    squares = rearrange(weights.movedim(axis, 0), "(f p q) ... -> f p q ...", p=patch, q=patch)
    made = repeat(squares, "f p q ... -> (f p k q l) ...", k=times, l=times).movedim(0, axis)
    return made / times**2 if mean else made
