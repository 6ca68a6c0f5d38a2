"""Real forward passes of MoE models in torch, driven by an IterationPlan alone.

Reading order: weights, rotary, kv_cache, operators, layer, hidden, forward, probe, executor.
"""

import os

# Both are read once, when torch is imported or first allocates.
# Threads that wait sleep instead of spinning: beside another busy process a spinning one takes the
# core that the work needs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Weights in huge pages, where the system grants them: reading them misses the TLB less.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
