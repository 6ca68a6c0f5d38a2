"""`python -m lpbench`."""

from lpbench.cli.app import main

if __name__ == "__main__":
    main()
