"""torchao 0.18 and bitsandbytes 0.50, as diffusers, transformers and PEFT load them wherever they are installed."""

import logging

LOUD = ("torch.utils._pytree", "bitsandbytes.backends.cpu.ops", "diffusers.quantizers.torchao.torchao_quantizer")
"""Loggers of what these libraries say of themselves when they load: no user can mend it."""


def quiet() -> None:
    """Hides the warnings of these libraries, not their errors; call it before they are loaded."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
