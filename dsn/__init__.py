"""The content-addressed node layer: knows no S3 and no HTTP."""
