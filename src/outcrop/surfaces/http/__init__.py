"""The HTTP API: parse, call the database, render. Needs the extra `server`."""
