"""What lives inside one tracked process: its writer, its hooks, and how it ends.

No helper process, no patched ``fork``, no lock held across a fork.
"""
