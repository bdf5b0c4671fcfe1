"""`python -m trio_logs` is `trio-logs`."""

from .cli import main

if __name__ == "__main__":
    main()
