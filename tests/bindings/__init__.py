"""Each binding against its framework."""
