"""HunyuanVideo's two text encoders at a tiny random size, with tokenizers, saved in the real format."""

from pathlib import Path
from typing import Any

WORDS = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred", "say"]
TEXT, POOLED = 16, 8
"""Numbers of a token, as `tiny_t5` has them too, and of CLIP's vector."""


def tokenizer_of(length: int) -> Any:
    """Of these words, and no more than so many tokens."""
    from transformers import T5Tokenizer

    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=length)


def tiny_llama() -> dict[str, Any]:
    """Both, by the names of a pipeline's parts."""
    from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel

    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1}
    sizes = {"vocab_size": len(WORDS) + 3, "num_hidden_layers": 4, "num_attention_heads": 2, **ends}
    return {
        "text_encoder": LlamaModel(LlamaConfig(**sizes, hidden_size=TEXT, intermediate_size=32)).eval(),
        "tokenizer": tokenizer_of(512),
        "text_encoder_2": CLIPTextModel(CLIPTextConfig(**sizes, hidden_size=POOLED, intermediate_size=16)).eval(),
        "tokenizer_2": tokenizer_of(77),
    }


def save_tiny_llama(folder: Path) -> None:
    """Writes both into the folder of a pipeline."""
    for name, part in tiny_llama().items():
        part.save_pretrained(folder / name)
