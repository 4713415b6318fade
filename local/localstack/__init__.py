"""The template, deployed with the SAM CLI on LocalStack's port: `make localstack`."""
