"""Prompts given as text, turned into token ids by the checkpoint's own tokenizer.

Owns: reading tokenizer.json.
Must not know: what becomes of the ids.
"""

from collections.abc import Sequence
from pathlib import Path

from lpbench.errors import InputError


def encode(folder: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text, special tokens as the tokenizer adds them itself.

    No chat template is applied: a text is taken as it stands.

    Args:
        folder: a Hugging Face checkpoint with a tokenizer.json.
        texts: the prompts.

    Raises:
        InputError: no tokenizer.json, a broken one, or the `tokenizers` package is not there.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            f"model folder {str(folder)!r} has no tokenizer.json; "
            "give prompts as prompt_token_ids or prompt_tokens"
        )
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra that only text needs
    except ImportError:
        raise InputError(
            "prompts given as text need the package 'tokenizers': pip install 'lpbench[text]'"
        ) from None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises nothing more exact
        line = " ".join(str(error).split())
        raise InputError(f"{str(path)!r} is no tokenizer: {line}; download it again") from None
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
