"""Bad days, rehearsed: a lost region, and what `make localstack` and the tests play under load."""
