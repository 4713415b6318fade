"""The dispatcher: commands wait in PostgreSQL and reach their agents in order.  Everything that decides is here."""
