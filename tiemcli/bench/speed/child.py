"""`tiem` in a process of its own, which tells at its end on stderr how many bytes it, or its worker, held at most."""

import sys

from tiemcli.bench.speed.clock import peak_memory, peak_memory_of_children
from tiemcli.cli import main


def run() -> None:
    """The command line, as it is; then the peak, on a line of its own."""
    try:
        main()
    finally:
        print(f"\n{max(peak_memory(), peak_memory_of_children())}", file=sys.stderr)


if __name__ == "__main__":
    run()
