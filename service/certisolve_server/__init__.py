"""The certisolve server: gateway, workers, queue, batching, engines and command line."""
