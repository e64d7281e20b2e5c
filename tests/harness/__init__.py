"""Real processes, real clients, and the one checker of the promises. Plain modules; fixtures live with the tests."""
