"""Nouns and errors of the network: pure values, no input or output."""
