"""Ways to start a task's process: one file each. Plug-ins come in by the entry point ``localtrack.executors``."""
