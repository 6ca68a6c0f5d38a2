"""Models and devices as numbers: geometry, bytes and FLOPs. Standard library only."""
