"""A job's life, verb by verb, between the HTTP edge, the store and the workers."""
