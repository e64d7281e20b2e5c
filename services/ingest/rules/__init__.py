"""Rules: who receives an event, and what it says to them. Declared in YAML; pure but for `loading` and `reloading`."""
