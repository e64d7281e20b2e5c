"""The catalogue: which types of events there are, what their data looks like, and documents that say so."""
