"""A recorded run as a Perfetto trace: what happened when, to be looked at and queried."""
