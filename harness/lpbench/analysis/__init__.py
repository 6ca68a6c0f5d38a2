"""From what was observed to numbers: metrics, comparisons, checks."""
