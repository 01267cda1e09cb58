"""Linear bounds of what a network computes and of its derivatives, on parts of a region."""
