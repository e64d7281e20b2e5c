"""Consumes published events, appends them to the log, and dispatches the log to the edges."""
