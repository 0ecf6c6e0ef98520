"""A load generator for S3 endpoints."""
