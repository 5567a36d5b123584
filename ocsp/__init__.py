"""OCSP (RFC 6960, 9919, 9654) without HTTP and without SQL: bytes in, bytes out."""
