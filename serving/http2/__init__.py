"""A gRPC server on a native HTTP/2 library (zttp), for less CPU time than grpc.aio takes.

Experimental: zttp is young. Servicers are the same on either; see docs/transport.md.
"""
