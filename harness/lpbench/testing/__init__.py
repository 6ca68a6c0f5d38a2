"""Doubles and builders for tests of schedules and records, ours and our users'."""
