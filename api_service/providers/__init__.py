"""Providers: wire protocols without I/O, and the tables of what differs between providers."""
