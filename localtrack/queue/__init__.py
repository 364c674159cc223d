"""Folders as queues: immutable entries, claims by exclusive creation, leases by heartbeat. No lock anywhere.

Source: docs/format/v1.md, "queues/", "agents/".
"""
