"""Published weights made into a graph of our own: what is read, how it is rounded, what is kept."""
