"""Builds the optional extensions; everything else about the package is in pyproject.toml.

Without a compiler, or without Python's headers, the package installs all the same.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            f"dsn.{name}",
            [f"dsn/{name}.c"],
            depends=["dsn/_lanes.h"],
            extra_compile_args=["-O2"],
            optional=True,
        )
        for name in ("_md5_lanes", "_blake3_lanes")
    ]
)
