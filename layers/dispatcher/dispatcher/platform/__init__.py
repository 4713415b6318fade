"""The platform of all other packages: settings, database, migrations, gateway, logs and metrics."""
