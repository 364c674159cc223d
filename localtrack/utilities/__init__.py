"""Small things that scripts import by these names from ClearML."""
