"""Certificates of served models: from a request and an artifact to a proven bound, and back."""
