"""What everything stands on: settings, database, migrations, gateway, logs and metrics."""
