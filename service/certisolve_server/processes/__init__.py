"""What the commands run: everything in one process, a gateway, or a worker."""
