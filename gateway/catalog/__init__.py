"""The catalog: every SQL statement, and the records it is a view of."""
