"""``responders load``: load for OCSP responders and time-stamp authorities, every answer of which is checked.

Nothing of the server imports this package.
"""
