"""api_service: one gRPC contract in front of remote providers of language models."""
