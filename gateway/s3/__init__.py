"""The S3 protocol as values and pure functions: no socket, no disk, no clock."""
