"""Real forward passes of MoE models in torch, driven by an IterationPlan alone.

Reading order: weights, rotary, kv_cache, transfer, grouped, kernels, operators, layer, hidden,
forward, touched, probe, executor.
"""
