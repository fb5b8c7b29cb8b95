"""The TASK executors: plain functions from an input text to the protocol's result."""
