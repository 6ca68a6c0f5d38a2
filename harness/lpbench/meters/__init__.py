"""What observes a run: one file per meter."""
