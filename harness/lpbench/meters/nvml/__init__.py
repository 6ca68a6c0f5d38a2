"""Joules, and DRAM bandwidth as a second witness, from NVIDIA's management library.

Reading order: absent, visible, device, source, energy, state, sampler, validity, readings, meter,
gpm. pynvml is imported when a GPU is opened, not before.
"""
