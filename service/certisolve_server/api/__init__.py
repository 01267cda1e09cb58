"""REST and gRPC: convert, call the data plane, convert back."""
