"""`python -m stockrnn` is the command `stockrnn`."""

from stockrnn.cli import main

main()
