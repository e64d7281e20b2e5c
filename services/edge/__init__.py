"""Serves each user's slice of the log as Server-Sent Events: backlog, handover, live, drain."""
