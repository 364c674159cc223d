"""Several real kernels on one machine: what only a second host can show."""
