"""The command line `dispatcher`."""
