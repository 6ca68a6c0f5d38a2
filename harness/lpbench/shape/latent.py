"""Attention over a latent: Multi-head Latent Attention (arXiv 2405.04434, 2412.19437).

Owns: the widths of its projections, what a token leaves in the cache, its parameters.
Must not know: models, config keys, how attention is computed.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """What takes the place of key and value heads: a low-rank latent that all heads share.

    Attributes:
        query_rank: width of the compressed query; 0 where queries are projected at once.
        kv_rank: width of the latent that a token's keys and values are made from.
        nope_dim: width of the part of a head's query and key that is not rotated.
        rope_dim: width of the rotated part; the key's is one for all heads.
        value_dim: width of a head's value.
    """

    query_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int

    @property
    def key_width(self) -> int:
        """Width of a head's query and key, as the model defines them."""
        return self.nope_dim + self.rope_dim

    @property
    def cached(self) -> int:
        """Values that a token leaves in a layer's cache: the latent and the rotated key."""
        return self.kv_rank + self.rope_dim

    def up_params(self, heads: int) -> int:
        """Return the parameters of the projection from the latent to all heads' keys and values."""
        return self.kv_rank * heads * (self.nope_dim + self.value_dim)

    def projection_params(self, *, hidden: int, heads: int) -> int:
        """Return the parameters of a layer's projections, without norms."""
        queries = heads * self.key_width
        down = self.query_rank * (hidden + queries) if self.query_rank else hidden * queries
        return down + hidden * self.cached + self.up_params(heads) + heads * self.value_dim * hidden

    @property
    def norm_params(self) -> int:
        """Parameters of the norms of the compressed query and of the latent."""
        return self.query_rank + self.kv_rank
