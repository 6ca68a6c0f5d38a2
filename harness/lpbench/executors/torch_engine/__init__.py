"""Real forward passes of MoE models in torch, driven by an IterationPlan alone.

Reading order: weights, rotary, kv_cache, operators, layer, hidden, forward, probe, executor.
"""

import os

# Weights in huge pages, where the system grants them: reading them misses the TLB less. torch
# reads this once, at its first allocation.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
