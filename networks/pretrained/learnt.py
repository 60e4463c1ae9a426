"""What was learnt upon a frozen base is kept alone: the base is named by its hash, in every state of the network."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from networks.fingerprint import fingerprint_of

HASH = "base_hash"
"""Name of the buffer of 8 bytes that stands in a state for the whole base."""
_SAMPLE = 4096


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

    def freeze_base(self, base: nn.Module, place: str) -> None:
        """Names what is frozen in `base`, so that it is left out from now on; call it once, when all is built.

        place: where the base came from, for messages.
        """
        self._place = place
        frozen = {name: value for name, value in self.named_parameters() if not value.requires_grad}
        owned = {id(value) for value in base.parameters()}
        self._base = frozenset(name for name, value in frozen.items() if id(value) in owned)
        self.register_buffer(HASH, _hash_of({name: frozen[name] for name in self._base}))
        shapes = {name: tuple(frozen[name].shape) for name in self._base}
        self.optional_tensors = {**shapes, HASH: (8,)}
        self.register_state_dict_post_hook(_leave_out)
        self.register_load_state_dict_pre_hook(_fill_in)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy that shares the frozen base: an average of 14 billion weights need not hold them twice."""
        shared: frozenset[str] = getattr(self, "_base", frozenset())
        for name, value in self.named_parameters():
            if name in shared:
                memo.setdefault(id(value), value)
        made = self.__class__.__new__(self.__class__)
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


def _leave_out(module: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Takes the base out of a state that is about to be saved."""
    for name in module._base:
        state.pop(prefix + name, None)


def _fill_in(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Fills a state that is about to be loaded with the base that is there already.

    Raises:
        ValueError: if the state was learnt upon another base.
    """
    own = {name: value for name, value in module.named_parameters() if name in module._base}
    held = {name: state[prefix + name] for name in own if prefix + name in state}
    named = state.get(prefix + HASH)
    if held and len(held) == len(own):
        if not torch.equal(_hash_of(held), module.base_hash.cpu()):
            module._base = frozenset()
    elif named is not None and not torch.equal(named.cpu(), module.base_hash.cpu()):
        raise ValueError(
            f"backbone: '{module._place}' is not the base that these weights were trained upon: its hash is "
            f"{_digits(module.base_hash)}, theirs {_digits(named)}; give backbone.pretrained=… their own base"
        )
    state[prefix + HASH] = module.base_hash
    for name, value in own.items():
        state.setdefault(prefix + name, value.data)


def _hash_of(tensors: Mapping[str, Tensor]) -> Tensor:
    """Hash of an even sample of every tensor, rounded to bfloat16, so that a base is one whatever type it is loaded in.

    Zeros on the device `meta`, where there is nothing to hash.
    """
    if not tensors or any(value.is_meta for value in tensors.values()):
        return torch.zeros(8, dtype=torch.uint8)
    sampled = {}
    for name, value in tensors.items():
        flat = value.detach().flatten()
        sampled[name] = flat[:: max(1, flat.numel() // _SAMPLE)].cpu().bfloat16()
    return torch.tensor(list(bytes.fromhex(fingerprint_of({}, sampled))), dtype=torch.uint8)


def _digits(hashed: Tensor) -> str:
    return bytes(hashed.tolist()).hex()
