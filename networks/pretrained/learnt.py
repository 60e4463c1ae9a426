"""What was learnt upon a frozen base is kept alone: the base is named by its hash, in every state of the network."""

import copy
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from networks.fingerprint import fingerprint_of
from networks.model_folder import weight_files
from networks.reading import open_tensors

HASH = "base_hash"
"""Name of the buffer of 8 bytes that stands in a state for the whole base."""
NOT_THEIRS = "these weights were trained upon another base: give backbone.pretrained=… their own"
_SAMPLE = 4096


class Sampled(NamedTuple):
    """Of a weight of a base: its first values, in bfloat16, and its shape."""

    first: Tensor
    shape: tuple[int, ...]


def sampled(base: nn.Module) -> dict[str, Sampled]:
    """Of every weight of a base as it was loaded, by name."""
    return {name: Sampled(_first_values(value), tuple(value.shape)) for name, value in base.named_parameters()}


class UponBase(nn.Module):
    """A network that is trained upon a frozen base, which its states leave out and its copies share.

    A state that does hold a base, as releases did before, is loaded with it; if that is another base than the loaded
    one, states go on holding it.
    """

    optional_tensors: Mapping[str, tuple[int, ...]] = {}
    """Shapes of the tensors that a state of this network may hold or leave out."""
    base_hash: Tensor
    adapter_scale: float = 0.0
    """What the adapters' sum is multiplied by; 0 where there are none."""
    pretrained: str
    subfolder: str

    def freeze_base(self, base: nn.Module, place: str, named: Mapping[str, Sampled]) -> None:
        """Names what is frozen in `base`, so that it is left out from now on; call it once, when all is built.

        Args:
            base: with adapters, perhaps quantised.
            place: where the base came from, for messages.
            named: `sampled` of the base as it was loaded, whose hash it keeps.
        """
        self._place = place
        # adapters wrap a layer, whose own weight is called so in its file
        owned = {id(value): name.replace(".base_layer.", ".") for name, value in base.named_parameters()}
        frozen = {name: value for name, value in self.named_parameters() if not value.requires_grad}
        self._base = {name: owned[id(value)] for name, value in frozen.items() if id(value) in owned}
        known = {name: named[own] for name, own in self._base.items()}
        self.register_buffer(HASH, _hash_of({self._base[name]: each.first for name, each in known.items()}))
        self.optional_tensors = {**{name: each.shape for name, each in known.items()}, HASH: (8,)}
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_fill_in)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares the frozen base: an average of 14 billion weights need not hold them twice."""
        shared: Mapping[str, str] = getattr(self, "_base", {})
        for name, value in self.named_parameters():
            if name in shared:
                memo.setdefault(id(value), value)
        for part in self.modules():  # scales of quantised weights
            if (scales := getattr(part, "quant_state", None)) is not None:
                memo.setdefault(id(scales), scales)
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


def _leave_out(module: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Takes the base out of a state that is about to be saved."""
    left = tuple(prefix + name for name in module._base)
    for name in left:
        state.pop(name, None)
    # scales of quantised weights are named after them
    for name in [name for name in state if name.rpartition(".weight.")[0] + ".weight" in left]:
        state.pop(name)


def _fill_in(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Fills a state that is about to be loaded with the base that is there already.

    Raises:
        ValueError: if the state was learnt upon another base.
    """
    own = {name: value for name, value in module.named_parameters() if name in module._base}
    held = {name: state[prefix + name] for name in own if prefix + name in state}
    named = state.get(prefix + HASH)
    if held and len(held) == len(own):
        hashed = _hash_of({module._base[name]: x for name, x in held.items()})
        same = torch.equal(hashed, module.base_hash.cpu())
        rounded = any(hasattr(part, "stored_bytes") for part in module.modules())
        if rounded and not same:
            raise ValueError(_other(module._place, module.base_hash, hashed))
        if rounded:
            for name in held:
                state.pop(prefix + name)
        elif not same:
            module._base = {}
    elif named is not None and not torch.equal(named.cpu(), module.base_hash.cpu()):
        raise ValueError(_other(module._place, module.base_hash, named))
    state[prefix + HASH] = module.base_hash
    for name, value in own.items():
        state.setdefault(prefix + name, value.data)


def refuse_other_base(network: nn.Module, named: Mapping[str, Tensor]) -> None:
    """Looks at the files of each base, of which it reads the first few values a tensor, before they are loaded.

    A name on the hub is not looked at: whoever loads it does.

    Args:
        network: built on the device meta.
        named: hashes of the bases that weights were trained upon, by the name of their tensor in the network.

    Raises:
        ValueError: if a base is another one.
    """
    for place, module in network.named_modules():
        expected = named.get(f"{place}.{HASH}" if place else HASH)
        if not isinstance(module, UponBase) or expected is None:
            continue
        names = set(module._base.values())
        found = {
            name: x for path in weight_files(module.pretrained, module.subfolder) for name, x in _first(path, names)
        }
        if found.keys() == names and not torch.equal(hashed := _hash_of(found), expected.cpu()):
            raise ValueError(_other(module._place, hashed, expected))


def _first(path: Path, names: set[str]) -> Iterator[tuple[str, Tensor]]:
    """The first values of those tensors of a safetensors file, as they are hashed."""
    with open_tensors(path) as file:
        for name in names.intersection(file.keys()):
            part = file.get_slice(name)
            rows = -(-_SAMPLE // max(1, math.prod(part.get_shape()[1:])))
            yield name, part[:rows] if part.get_shape() else file.get_tensor(name)


def _hash_of(tensors: Mapping[str, Tensor]) -> Tensor:
    """Hash of the first values of every tensor, in bfloat16, so that a base is one whatever type it is loaded in.

    Zeros on the device `meta`, where there is nothing to hash.
    """
    if not tensors or any(value.is_meta for value in tensors.values()):
        return torch.zeros(8, dtype=torch.uint8)
    first = {name: _first_values(value) for name, value in tensors.items()}
    return torch.tensor(list(bytes.fromhex(fingerprint_of({}, first))), dtype=torch.uint8)


def _first_values(value: Tensor) -> Tensor:
    """A copy, so that what is rounded later is not held."""
    value = value.detach().flatten()[:_SAMPLE]
    return value if value.is_meta else value.cpu().bfloat16().clone()


def _other(place: str, found: Tensor, expected: Tensor) -> str:
    return (
        f"backbone: '{place}' is not the base that these weights were trained upon: its hash is {_digits(found)}, "
        f"theirs {_digits(expected)}; give backbone.pretrained=… their own base"
    )


def _digits(hashed: Tensor) -> str:
    return bytes(hashed.tolist()).hex()
