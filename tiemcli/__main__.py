"""`python -m tiemcli` is `tiem`."""

from tiemcli.cli import main

main()
