"""What agents say and what they get, without input or output."""
