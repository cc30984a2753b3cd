"""Channels, credentials and errors of the RPC layer. It knows no models."""
