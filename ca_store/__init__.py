"""The CA database: schema, status look-ups, change feed, serial blocks, signer credentials.

Knows nothing of HTTP, OCSP or time-stamps. ``contracts`` says what it promises, ``types`` what it hands out.
"""
