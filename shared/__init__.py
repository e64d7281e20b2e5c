"""What every service stands on: the model, the ports, their adapters, and the wiring."""
