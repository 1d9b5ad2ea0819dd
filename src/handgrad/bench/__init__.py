"""Training steps timed: native code beside PyTorch and JAX, in turn, in one run."""
