"""What is wrong with a manifest."""


class ManifestError(ValueError):
    """A manifest is malformed or contradicts itself; the message names the key."""
