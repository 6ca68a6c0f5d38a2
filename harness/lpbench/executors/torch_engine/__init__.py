"""Real forward passes of MoE models in torch, driven by an IterationPlan alone.

Reading order: weights, rotary, sequences, drawn, layers (the seam), hidden, forward, executor.
Behind the seam, request by request: kv_cache, grouped, choice, operators, layer, touched, probe,
torch_layers. All requests together: page_pool, rooms, batch, pieces, graphs, fused_layers, and
`kernels/`.
"""
