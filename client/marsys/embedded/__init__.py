"""Embedded mode: where no service runs, the one that is needed is started as a child process.

One process tree shares one service of each kind. It listens on a Unix socket in a directory that
only its user can enter, and it ends with the process that started it.
"""

from marsys.embedded._settling import is_settled, settle, settle_async, settled
from marsys.embedded._tree import announce

__all__ = ["announce", "is_settled", "settle", "settle_async", "settled"]
