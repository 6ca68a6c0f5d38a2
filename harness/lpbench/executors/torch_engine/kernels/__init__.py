"""The layer's operators for GPUs, fused: in Triton, and the same in plain torch to hold them to.

Reading order: pages, blocks, mxfp4, fused (what there is), reference (what each means), then one
Triton file an operator: norm, heads, router, align, chip, expert_tiles and tile_table, experts,
tiles (of keys), decode, prefill; launch gathers them. candidates is what tuning tries. Nothing here
reads a value on the host, and every shape follows from shapes alone, so that a CUDA graph can hold
all of it.
"""
