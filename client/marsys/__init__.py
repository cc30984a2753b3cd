"""MARSYS Models: one gRPC contract for every language model, remote or local.

`marsys.models` is the public Python API, `marsys.v1` the generated contract.
"""

__version__ = "0.1.0"
