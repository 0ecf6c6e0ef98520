"""The operations of the S3 door, one function each, named as S3 names them."""
