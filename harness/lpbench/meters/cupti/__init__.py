"""DRAM bytes by PM sampling, from a child process with an environment of its own.

In reading order: `fault` and `names`, `samples` and `slope` (the maths), `sampler` (the child's
program, run by path), `child` (starts and asks it), `permission`, `meter`.
"""
