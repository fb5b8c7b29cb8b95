"""The worker protocol as values: frames parsed and printed, without any input or output."""
