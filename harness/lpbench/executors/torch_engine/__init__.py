"""Real forward passes of MoE models in torch, driven by an IterationPlan alone.

Reading order: weights, rotary, kv_cache, grouped, operators, layer, hidden, forward, probe,
executor.
"""
