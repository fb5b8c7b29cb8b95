"""Models made runnable: what is embedded, how a folder is read, text in and text out."""
