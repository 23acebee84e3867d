"""`python -m bestofn_server` is the command `bestofn`."""

from bestofn_server.cli import main

main()
