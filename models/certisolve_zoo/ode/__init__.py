"""Neural vector fields of ordinary differential equations, and their correction by measurements."""
