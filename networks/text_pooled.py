"""HunyuanVideo's text: features of a language model's tokens, and in front of them one vector of CLIP.

Axes: b batch, l text tokens, e text features. See `networks.text` for the rules that all encoders share.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.fingerprint import fingerprint_of
from networks.model_folder import check_pretrained, variant_of
from networks.ranges import Count, Dtype, Size, Text
from networks.reading import refused
from networks.text import DTYPES, check_numbers, quiet_loading


class PooledText(nn.Module):
    """Two frozen encoders: so that whatever carries a text carries both, the second's vector is its first place.

    Captions stand in a template that asks the language model to describe a video, of which the tokens in front are cut
    off. "" is read as any text is: it is what HunyuanVideo is guided away from. Source: diffusers'
    HunyuanVideoPipeline; the place of the vector, with zeros behind its features, is our choice.
    """

    reads_empty = True

    def __init__(
        self,
        *,
        pretrained: Text,
        features: Size,
        pooled_features: Size,
        template: Text,
        template_tokens: Count,
        subfolder: str = "text_encoder",
        tokenizer_subfolder: str = "tokenizer",
        pooled_subfolder: str = "text_encoder_2",
        pooled_tokenizer_subfolder: str = "tokenizer_2",
        max_length: Size = 256,
        pooled_max_length: Size = 77,
        skipped_layers: Count = 2,
        dtype: Dtype = "float16",
    ) -> None:
        """Load both encoders and tokenizers in the format of `transformers`.

        Args:
            pretrained: a folder, or a name on the hub.
            features: e, of the language model, checked against it.
            pooled_features: of the vector, checked too; at most as many.
            template: text around a caption, which stands at {}.
            template_tokens: of the template in front of the caption, cut off.
            subfolder: where the language model lies inside.
            tokenizer_subfolder: its tokenizer.
            pooled_subfolder: where CLIP's text encoder lies inside.
            pooled_tokenizer_subfolder: its tokenizer.
            max_length: text tokens at which a caption is cut, without those of the template in front.
            pooled_max_length: the same of CLIP.
            skipped_layers: last layers of the language model whose features are not used.
            dtype: of the weights; features are float32.

        Raises:
            ValueError: if nothing can be loaded from there, or a setting does not fit it.
        """
        from transformers import AutoTokenizer, CLIPTextModel, LlamaModel

        super().__init__()
        if dtype not in DTYPES:
            raise ValueError(f"text: dtype is '{dtype}', but must be one of {', '.join(DTYPES)}")
        if template.count("{}") != 1:
            raise ValueError("text: template must hold {} once, where the caption stands")
        for inner in (subfolder, tokenizer_subfolder, pooled_subfolder, pooled_tokenizer_subfolder):
            check_pretrained(pretrained, inner, "text.pretrained")
        quiet_loading()
        parts: dict[str, Any] = {}
        for name, kind, inner in (
            ("language model", LlamaModel, subfolder),
            ("CLIP text encoder", CLIPTextModel, pooled_subfolder),
        ):
            with refused(f"text: no {name} could be loaded from '{pretrained}/{inner}'"):
                told: dict[str, Any] = {"subfolder": inner, "variant": variant_of(pretrained, inner)}
                parts[name] = kind.from_pretrained(pretrained, dtype=DTYPES[dtype], **told)
        with refused(f"text: no tokenizers in '{pretrained}'"):
            self.tokenizer = AutoTokenizer.from_pretrained(pretrained, subfolder=tokenizer_subfolder)
            self.pooled_tokenizer = AutoTokenizer.from_pretrained(pretrained, subfolder=pooled_tokenizer_subfolder)
        model, pooled = parts.values()
        for name, expected, found in (
            ("features", features, model.config.hidden_size),
            ("pooled_features", pooled_features, pooled.config.hidden_size),
        ):
            if expected != found:
                raise ValueError(f"text: {name} is {expected}, but '{pretrained}' has {found}: set text.{name}={found}")
        self.model, self.pooled_model = (each.eval().requires_grad_(False) for each in (model, pooled))
        self.features, self.template, self.template_tokens = features, template, template_tokens
        self.max_length, self.pooled_max_length, self.skipped_layers = max_length, pooled_max_length, skipped_layers

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever `mode` says."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to features.

        Args:
            captions: any texts; those that are longer are cut.

        Returns:
            Features b 1+l e, float32, zero where the mask is False, and mask b 1+l; l is the longest caption's.
        """
        device = next(self.model.parameters()).device
        asked = [self.template.replace("{}", caption) for caption in captions]
        words = self._tokens(self.tokenizer, asked, "longest", self.max_length + self.template_tokens)
        real = words["attention_mask"].to(device)
        layers = self.model(input_ids=words["input_ids"].to(device), attention_mask=real, output_hidden_states=True)
        states = layers.hidden_states[-(self.skipped_layers + 1)][:, self.template_tokens :].float()
        known = real[:, self.template_tokens :].bool()
        tokens = self._tokens(self.pooled_tokenizer, list(captions), "max_length", self.pooled_max_length)
        pooled = self.pooled_model(tokens["input_ids"].to(device)).pooler_output.float()
        first = F.pad(pooled, (0, self.features - pooled.shape[1])).unsqueeze(1)
        text = torch.cat([first, states * known.unsqueeze(-1)], dim=1)
        check_numbers(text, self.model.dtype)
        return text, F.pad(known, (1, 0), value=True)

    @staticmethod
    def _tokens(tokenizer: Any, texts: list[str], padding: str, most: int) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = tokenizer(
            texts, padding=padding, truncation=True, max_length=most, return_tensors="pt"
        )
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the settings and of both encoders' weights."""
        names = ("max_length", "pooled_max_length", "skipped_layers", "template", "template_tokens")
        settings = {"kind": type(self).__name__, **{name: getattr(self, name) for name in names}}
        pooled = {f"pooled.{name}": value for name, value in self.pooled_model.state_dict().items()}
        return fingerprint_of(settings, {**self.model.state_dict(), **pooled})
