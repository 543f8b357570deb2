"""Foreign checkpoint files come out as the neutral folder, or are refused with the reason."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from harness.backends.torch import models
from harness.backends.torch.convert import restore_pre_tokenizer, to_neutral
from harness.errors import RequestError, Unsupported
from harness.sources.model_files import usable
from harness.stages.fetch import is_neutral
from tests.torch_toys import VOCABULARY, artifact_info, random_backbone

IDS = torch.tensor([[5, 6, 7]])


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    assert tokenizer.pre_tokenizer is not None
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def test_a_safetensors_folder_passes_through_unchanged(tmp_path):
    folder = random_backbone(tmp_path)
    out = to_neutral(folder, tmp_path / "neutral")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth", "weights.pt"])
def test_a_pickled_state_dict_becomes_safetensors(tmp_path, name):
    folder = random_backbone(tmp_path)
    expected = models.build(artifact_info("pooled"), folder, seed=1).eval()
    tensors = load_file(folder / "model.safetensors")
    tensors["tied.copy"] = tensors["embeddings.word_embeddings.weight"]  # shares memory
    torch.save(tensors, folder / name)
    (folder / "model.safetensors").unlink()
    out = to_neutral(folder, tmp_path / "neutral")
    assert not (out / name).exists()
    model = models.build(artifact_info("pooled"), out, seed=1).eval()
    with torch.no_grad():
        assert torch.equal(model(IDS, torch.ones_like(IDS)), expected(IDS, torch.ones_like(IDS)))


def test_a_tokenizer_that_comes_as_spm_model_only_is_found_and_converted(tmp_path):
    """As DeBERTa-v3 is published."""
    folder = random_backbone(tmp_path, "deberta-v2")
    (folder / "tokenizer.json").unlink()
    words = ["the bank lends", "a river bank", "lending to the river", "the loan of a banker"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words * 20), model_prefix=str(folder / "spm"), vocab_size=VOCABULARY,
        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]",
        eos_piece="[SEP]", unk_piece="[UNK]", hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    assert "spm.model" in usable([path.name for path in folder.iterdir()], str(folder))
    assert not is_neutral(folder, None)
    tokenizer = Tokenizer.from_file(
        str(to_neutral(folder, tmp_path / "neutral") / "tokenizer.json")
    )
    original = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
    text = "the banker lends to a river"
    assert tokenizer.encode(text).ids == [1, *original.encode(text), 2]


class Attack:
    """What a pickle may do when it is read as code."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    folder = random_backbone(tmp_path)
    (folder / "model.safetensors").unlink()
    victim = tmp_path / "victim"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Attack(victim)}, protocol=2))
    with pytest.raises(Unsupported, match=r"pytorch_model\.bin"):
        to_neutral(folder, tmp_path / "neutral")
    assert not victim.exists()
    assert not (tmp_path / "neutral").exists()


def test_conversion_happens_once(tmp_path):
    folder = random_backbone(tmp_path)
    out = to_neutral(folder, tmp_path / "neutral")
    before = (out / "model.safetensors").stat().st_mtime_ns
    (folder / "config.json").unlink()
    assert to_neutral(folder, out) == out
    assert (out / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_without_weights_says_what_was_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"expected \*\.safetensors"):
        to_neutral(tmp_path / "empty", tmp_path / "neutral")


def test_smollm_splits_every_digit_off_before_words(tmp_path):
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)  # what GGUF's converter makes
    assert pieces(tokenizer, "in  1984") == ["in", "Ġ", "Ġ1984"]
    restore_pre_tokenizer(tokenizer, "smollm", tmp_path)
    assert pieces(tokenizer, "in  1984") == ["in", "ĠĠ", "1", "9", "8", "4"]


def test_gpt2_keeps_its_cut(tmp_path):
    tokenizer = Tokenizer(BPE())
    restore_pre_tokenizer(tokenizer, "gpt-2", tmp_path)
    assert pieces(tokenizer, "in  1984") == ["in", "Ġ", "Ġ1984"]


def test_an_unknown_tokenizer_family_is_refused(tmp_path):
    with pytest.raises(Unsupported, match="'tekken'"):
        restore_pre_tokenizer(Tokenizer(BPE()), "tekken", tmp_path)
