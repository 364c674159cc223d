"""Callbacks and loggers for those who name what records their training, one module a framework.

Nothing of it is needed: what frameworks do is captured without. Each module is imported by its own name, and imports its
framework then::

    from localtrack.integrations.lightning import LocaltrackLogger

Source: docs/how-to/integrations.md.
"""
