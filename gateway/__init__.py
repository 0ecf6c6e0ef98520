"""The S3 gateway over the node layer in `dsn`."""
