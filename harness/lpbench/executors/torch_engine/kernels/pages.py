"""Keys and values of one layer in pages, as attention reads them.

Owns: the layout of the pool and of the page tables.
Must not know: who holds which page.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Pages:
    """One layer's pool and the tables of all sequences.

    Position p of the sequence in seat s lies in page `tables[s, p // page_tokens]` at offset
    p % page_tokens. A slot is page * page_tokens + offset.

    Attributes:
        keys: [pages, kv_heads, page_tokens, head_dim].
        values: the same shape.
        tables: int32 [seats, most pages of a sequence], shared by all layers.
    """

    keys: torch.Tensor
    values: torch.Tensor
    tables: torch.Tensor

    @property
    def page_tokens(self) -> int:
        """Tokens of a page."""
        return self.keys.shape[2]
