"""Frameworks that are too large for the plain suite, each for real; .ci/run makes an environment with them."""
