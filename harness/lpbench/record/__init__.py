"""What is remembered of a run: the schema of a record, its provenance, how it is stored."""
