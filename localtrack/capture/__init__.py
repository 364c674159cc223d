"""Look at the world around a run and describe it: code, packages, host, arguments, resources.

Every function returns frozen records and writes nothing into a store. What could not be seen is
told in the ``errors`` field of the record, never by an exception: tracking must not break a run.
"""
