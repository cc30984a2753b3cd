"""Hosts models on this machine behind marsys.v1."""
