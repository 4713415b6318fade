"""The SQL, one function a statement: the only place from which the tables are read and written."""
