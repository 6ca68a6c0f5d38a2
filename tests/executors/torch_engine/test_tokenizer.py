import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from lpbench.errors import InputError
from lpbench.executors.torch_engine.tokenizer import encode


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer of whole words that puts a start token before each text."""
    words = {"[UNK]": 0, "layered": 1, "prefill": 2, "[START]": 3}
    tokenizer = Tokenizer(WordLevel(words, unk_token=next(iter(words))))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[START] $A", special_tokens=[("[START]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def refusal(call: Callable[[], object]) -> str:
    """Return the one line with which `call` is refused."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_texts_become_ids_in_their_order(tmp_path: Path) -> None:
    """Each text gets its own ids, special tokens as the tokenizer adds them."""
    save_tokenizer(tmp_path)
    texts = ("layered prefill", "prefill", "", "chunked prefill")
    expected = [[3, 1, 2], [3, 2], [3], [3, 0, 2]]
    assert expected == encode(tmp_path, texts)


def test_no_texts_give_no_ids(tmp_path: Path) -> None:
    """Nothing in, nothing out."""
    save_tokenizer(tmp_path)
    assert not encode(tmp_path, ())


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    """The refusal says how to give prompts without one."""
    expected = (
        f"model folder '{tmp_path}' has no tokenizer.json; "
        "give prompts as prompt_token_ids or prompt_tokens"
    )
    assert expected == refusal(lambda: encode(tmp_path, ["layered"]))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"model": {"type": "no"}}', b"[]"])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: bytes) -> None:
    """The refusal names the file and passes the library's reason on."""
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    line = refusal(lambda: encode(tmp_path, ["layered"]))
    assert line.startswith(f"'{path}' is no tokenizer: ")
    assert line.endswith("; download it again")


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without `tokenizers` learns what to install."""
    save_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    expected = "prompts given as text need the package 'tokenizers': pip install 'lpbench[text]'"
    assert expected == refusal(lambda: encode(tmp_path, ["layered"]))
