"""What watches frameworks."""
