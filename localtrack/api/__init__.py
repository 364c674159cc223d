"""The facade with ClearML's names: thin, one service call a method. It adds no rule of its own."""
