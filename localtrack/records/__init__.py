"""What a task is: pure data and rules. No I/O, no clock, no environment."""
