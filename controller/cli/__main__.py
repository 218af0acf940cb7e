"""`python -m controller.cli` is `airlock`."""

from controller.cli.main import main

main()
