"""A double of NVIDIA's management library: a GPU whose power is known, with faults to inject.

Reading order: scenario, build, double.c. The real pynvml finds the built library through
LD_LIBRARY_PATH, which must be set before its process starts.
"""
