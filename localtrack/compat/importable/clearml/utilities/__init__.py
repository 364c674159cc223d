"""Small things that clients use."""
