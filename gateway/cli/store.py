"""Commands on the store itself: check it, make its catalog anew, objects out and in, CIDs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import (
    Config,
    DataDir,
    Json,
    answer,
    data_dir_of,
    log_beside_the_answer,
    printable,
)

EXIT_DAMAGED = 3

Progress = Callable[[int, int], None]

store_cli = typer.Typer()


@store_cli.command()
def verify(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Check every stored byte against its CID. Exit code 3 when something is damaged."""
    from gateway import maintenance

    log_beside_the_answer()
    with _bar("verifying", as_json) as progress:
        report = maintenance.verify(data_dir_of(data_dir, config), progress)
    damages = [
        {
            "bucket": _text(damage.bucket),
            "key": _text(damage.key),
            "version": damage.version,
            "reason": damage.reason,
        }
        for damage in report.damages
    ]
    state = f"{len(damages)} damaged" if damages else "healthy"
    answer(
        as_json,
        {
            "healthy": not damages,
            "objects": report.objects,
            "bytes": report.bytes,
            "damages": damages,
        },
        *(
            f"damaged  {printable(d['bucket'] + '/' + d['key'])}  version {d['version']}  "
            f"{d['reason']}"
            for d in damages
        ),
        f"{state}: {report.objects} objects, {report.bytes} bytes checked",
    )
    if report.damages:
        raise typer.Exit(EXIT_DAMAGED)


@store_cli.command()
def rebuild(data_dir: DataDir = None, config: Config = None, as_json: Json = False) -> None:
    """Make the catalog again from the segments alone."""
    from gateway import maintenance

    log_beside_the_answer()
    with _bar("rebuilding", as_json) as progress:
        report = maintenance.rebuild(data_dir_of(data_dir, config), progress)
    answer(
        as_json,
        asdict(report),
        f"rebuilt {report.buckets} buckets, {report.objects} objects and {report.uploads} uploads "
        f"from {report.segments} segments in {report.seconds:.1f} s",
    )


@store_cli.command()
def cid(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False)],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Stored name; that of the file unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the CID that the network would give to a file."""
    from gateway.file_cid import file_cid

    stored_name = file.name if name is None else name
    with _bar("hashing", as_json) as progress:
        text = file_cid(file, stored_name, progress)
    answer(as_json, {"cid": text, "name": stored_name, "bytes": file.stat().st_size}, text)


@store_cli.command("export")
def export_(
    address: Annotated[str, typer.Argument(metavar="BUCKET/KEY")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="F.car", help="CAR to write.")],
    data_dir: DataDir = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="Who owns the object.")] = "main",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write an object with its whole DAG into a CAR file."""
    bucket, key = _bucket_and_key(address)
    from gateway import maintenance

    log_beside_the_answer()
    with _bar("exporting", as_json) as progress:
        maintenance.export_object(
            data_dir_of(data_dir, config), bucket, key, output, progress, account
        )
    size = output.stat().st_size
    answer(as_json, {"output": str(output), "bytes": size}, f"{output}  {size} bytes")


@store_cli.command("import")
def import_(
    car: Annotated[Path, typer.Argument(metavar="F.car", exists=True, dir_okay=False)],
    address: Annotated[str, typer.Argument(metavar="BUCKET/KEY")],
    data_dir: DataDir = None,
    account: Annotated[str, typer.Option(metavar="NAME", help="Who owns the new object.")] = "main",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Store the file whose DAG is in a CAR as an object. Prints its CID."""
    bucket, key = _bucket_and_key(address)
    from gateway import maintenance

    log_beside_the_answer()
    with _bar("importing", as_json) as progress:
        text = maintenance.import_car(
            data_dir_of(data_dir, config), account, car, bucket, key, progress
        )
    answer(as_json, {"cid": text, "bucket": bucket, "key": key}, text)


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not bucket or not key:
        raise typer.BadParameter(f"{address!r} is not BUCKET/KEY")
    return bucket, key


@contextmanager
def _bar(label: str, as_json: bool) -> Iterator[Progress | None]:
    """A progress bar for people who watch; None for everybody else."""
    if as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
