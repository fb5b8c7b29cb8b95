"""The HTTP edge: requests become values, values become replies."""
