"""One file per bundled model."""
