"""Ways to a server: each sends a `Call` and returns the `Reply`."""
