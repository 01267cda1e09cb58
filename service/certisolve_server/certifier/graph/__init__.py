"""The graph that is certified, and how it is made of an exported program."""
