"""`python -m marsys.cli`."""

from marsys.cli import main

main()
