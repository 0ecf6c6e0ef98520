"""Makes `python -m gateway` the same as `dsn-gateway`."""

from gateway.cli import main

main()
