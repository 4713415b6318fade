"""`python -m command_dispatcher` is `dispatcher`."""

from command_dispatcher.cli.main import main

if __name__ == "__main__":
    main()
