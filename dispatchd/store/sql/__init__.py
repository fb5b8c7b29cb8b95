"""The store in SQL: statements and what is made of their rows, for every database alike."""
