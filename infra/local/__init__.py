"""The production topology on one machine without Docker: real servers as child processes."""
