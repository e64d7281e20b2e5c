"""A small workflow engine whose runs are streams: every change of a run is an event of `workflow/<id>`."""
