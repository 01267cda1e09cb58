"""Reference solvers of the differential equations that the surrogates are trained on."""
