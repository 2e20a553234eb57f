"""`python -m quant` is the command `quant`."""

from quant.app.cli import main

main()
