"""What lives inside one tracked process: its writer, its hooks, and how it ends.

No helper process (but for the capture of descriptors, where that is asked for), no patched ``fork``, no lock held across a fork.
"""
