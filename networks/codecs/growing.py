"""A codec that begins from a trained one with fewer latent channels."""

from pathlib import Path

import torch

from networks.codecs.causal import CausalVideoAutoencoder
from networks.saving import load_pretrained, read_config


@torch.no_grad()
def begin_from(codec: CausalVideoAutoencoder, folder: str | Path) -> None:
    """Copies a trained codec's weights; latent channels beyond its own begin at random and without effect.

    What has learnt to draw edges needs not learn it again for another world.

    Args:
        codec: new codec with the same widths and blocks, and at least as many channels.
        folder: folder of the trained codec.

    Raises:
        ValueError: if the folder holds no such codec.
    """
    channels = int(read_config(Path(folder)).get("channels", 0))
    trained = load_pretrained(folder=folder, channels=channels).state_dict()
    own = codec.state_dict()
    if channels > codec.channels or own.keys() != trained.keys():
        raise ValueError(
            f"{folder} holds no codec of these blocks with at most {codec.channels} channels: give another folder, or "
            "the codec the folder's widths and blocks"
        )
    for name, value in own.items():
        begun = trained[name].to(value)
        if value.shape == begun.shape:
            value.copy_(begun)
            continue
        grown = 1 if name.startswith("decoder.") else 0  # channels come into the decoder and out of the encoder
        if value.narrow(grown, 0, channels).shape != begun.shape:
            raise ValueError(
                f"{folder}: {name} is {tuple(begun.shape)}, but the codec's is {tuple(value.shape)}: give the "
                "codec the folder's widths"
            )
        value.narrow(grown, 0, channels).copy_(begun)
        if grown:
            value.narrow(grown, channels, value.shape[grown] - channels).zero_()
