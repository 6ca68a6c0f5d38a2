"""What puts a run together: spec, resolution, the loop one can read aloud, the jobs."""
