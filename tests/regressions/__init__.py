"""The original's regressions, put back on purpose: each of them must fail a test."""
