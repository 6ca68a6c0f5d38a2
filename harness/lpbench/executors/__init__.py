"""What carries a plan out: the executor protocol, and one folder per executor."""
