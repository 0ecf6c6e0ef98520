"""Builds the one optional extension; everything else about the package is in pyproject.toml.

Without a compiler, or without Python's headers, the package installs all the same.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "dsn._md5_lanes",
            ["dsn/_md5_lanes.c"],
            extra_compile_args=["-O2"],
            optional=True,
        )
    ]
)
