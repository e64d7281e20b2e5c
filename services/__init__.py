"""One package per deployable; none imports another. `cli` is the one command, `carillon`."""
