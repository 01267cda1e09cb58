"""Ways to a bound, each sound on its own; the least of what they give is the answer."""
