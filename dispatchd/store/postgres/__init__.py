"""The store that several coordinators share: a PostgreSQL database."""
