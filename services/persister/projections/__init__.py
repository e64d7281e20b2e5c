"""Read models kept up with the log: each from its own checkpoint, effectively once."""
