"""`python -m server.cli`: the same as `chengtu`."""

from server.cli import main

main()
