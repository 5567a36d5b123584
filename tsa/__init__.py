"""Time-stamps (RFC 3161, 5816) without HTTP and without SQL: bytes in, bytes out."""
