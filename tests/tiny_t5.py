"""A T5 encoder and its tokenizer at a tiny random size, saved in the real format."""

import torch


def save_tiny_t5(folder, kind):
    from transformers import T5Config, T5EncoderModel, T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    words = ["a", "green", "marine", "walks", "through", "dark", "hall", "red", "door"]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in words)]
    tokenizer = T5Tokenizer(vocab=vocab, extra_ids=0)
    sizes = {"vocab_size": len(vocab), "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    config_class, model_class = {"t5": (T5Config, T5EncoderModel), "umt5": (UMT5Config, UMT5EncoderModel)}[kind]
    model_class(config_class(**sizes, pad_token_id=0, eos_token_id=1)).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
