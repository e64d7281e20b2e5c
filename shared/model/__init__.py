"""The words of Carillon as types: events, tags, cursors, entries, errors and settings."""
