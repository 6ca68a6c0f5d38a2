"""The idea: a prefill is a rectangle of tokens x layers, a schedule cuts it into ordered tiles.

Reading order: grid, request, iteration, policy, admission, whole, chunked, layered, queues, check.
Standard library only.
"""
