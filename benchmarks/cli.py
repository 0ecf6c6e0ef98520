"""The command line of the benchmarks: `dsn-gateway bench` or `python -m benchmarks`."""

from __future__ import annotations

import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.status import Status

from benchmarks.compare import compare, pair_endpoints, regressions
from benchmarks.fill import Filling
from benchmarks.fill import fill as fill_directory
from benchmarks.generator import Generators
from benchmarks.machine import describe
from benchmarks.markdown import markdown_table
from benchmarks.peers import KINDS, PeerError, make_server
from benchmarks.plan import Case
from benchmarks.process_tree import ProcessTree
from benchmarks.report import html_report
from benchmarks.results import FORMAT, Record, Recording, ResultsError, gather, read
from benchmarks.runner import Endpoint, Runner, Settings, default_processes
from benchmarks.s3_requests import Target
from benchmarks.scale import ScaleRun, comparison, make_filled, stored_sets
from benchmarks.scale import cases as scale_cases
from benchmarks.scenarios import PART_ORDERS, RANGE_ORDERS, SCENARIOS, Wishes
from benchmarks.scenarios import quick as quick_case
from benchmarks.show import Progress, comparison_table, print_results, scale_table
from benchmarks.units import parse_size

cli = typer.Typer(
    help="A load generator for S3 endpoints.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

Lists = list[str] | None


def main(arguments: list[str] | None = None, name: str = "python -m benchmarks") -> NoReturn:
    """Runs the command line and leaves with its exit code."""
    cli(args=arguments, prog_name=name)
    raise SystemExit(0)


@cli.command()
def run(
    scenario: Annotated[
        Lists,
        typer.Option("--scenario", "-s", help="Comma-separated or repeated; all unless given."),
    ] = None,
    peer: Annotated[
        Lists,
        typer.Option(metavar="[LABEL=]KIND[:BINARY]", help="A server to start; repeatable."),
    ] = None,
    binary: Annotated[
        Lists,
        typer.Option(metavar="[LABEL=]PATH", help="Program of a peer, by label or file name."),
    ] = None,
    peer_args: Annotated[
        Lists, typer.Option(metavar="LABEL=ARGUMENTS", help="More arguments for a peer.")
    ] = None,
    endpoint: Annotated[
        Lists,
        typer.Option(
            metavar="[LABEL=]URL", help="An address, also http://KEY:SECRET@HOST/base; repeatable."
        ),
    ] = None,
    access_key: Annotated[str, typer.Option(envvar="AWS_ACCESS_KEY_ID")] = "",
    secret: Annotated[str, typer.Option(envvar="AWS_SECRET_ACCESS_KEY")] = "",
    region: Annotated[str, typer.Option(envvar="AWS_DEFAULT_REGION")] = "us-east-1",
    server_pid: Annotated[
        Lists, typer.Option(metavar="LABEL=PID", help="Process of a local address, for its CPU.")
    ] = None,
    bucket: Annotated[str, typer.Option(help="Made unless it exists.")] = "benchmark",
    size: Annotated[Lists, typer.Option(help="Object sizes: 4KiB,64MiB.")] = None,
    concurrency: Annotated[Lists, typer.Option("--concurrency", "-c", help="1,8,64.")] = None,
    part: Annotated[Lists, typer.Option(help="Part sizes: 5MiB,16MiB.")] = None,
    order: Annotated[
        Lists, typer.Option(help="Parts: ascending, shuffled. Ranges: random, sequential.")
    ] = None,
    range_: Annotated[Lists, typer.Option("--range", help="Range sizes: 64KiB,1MiB.")] = None,
    keys: Annotated[Lists, typer.Option(help="Keys to list: 1k,1M.")] = None,
    uploads: Annotated[int, typer.Option(help="Multipart uploads at once.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of a round.")] = 4.0,
    count: Annotated[
        int | None, typer.Option(help="Requests of a round, if that is less than its length.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Endpoints take turns in each.")] = 3,
    warmup: Annotated[float, typer.Option(help="Seconds of warm-up before each round.")] = 0.5,
    rate: Annotated[
        float | None,
        typer.Option(help="Open loop: so many requests a second, whatever the server does."),
    ] = None,
    duplicates: Annotated[
        float, typer.Option(help="Share of bodies that were sent before, in put.")
    ] = 0.0,
    payload: Annotated[str, typer.Option(help="unsigned, or signed (SHA-256).")] = "unsigned",
    verify: Annotated[bool, typer.Option(help="Check every byte of every download.")] = False,
    processes: Annotated[int, typer.Option(help="Generator processes; 0: half of the cores.")] = 0,
    limits: Annotated[bool, typer.Option(help="Measure the machine beside.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds until a request is given up.")] = 120.0,
    insecure: Annotated[bool, typer.Option(help="Accept any certificate.")] = False,
    dataset: Annotated[str, typer.Option(help="Bytes to read from, at most.")] = "1GiB",
    peer_bytes_max: Annotated[
        str, typer.Option(help="A peer that stores more starts anew, empty.")
    ] = "12GiB",
    cleanup: Annotated[bool, typer.Option(help="Delete what was written to addresses.")] = False,
    work_dir: Annotated[
        Path | None, typer.Option(help="Where peers store, in a folder of its own.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Everything tiny; proves that it works.")] = False,
    output: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON lines.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report.")] = None,
) -> None:
    """Measure endpoints side by side."""
    console = _console()
    try:
        wishes = Wishes(
            sizes=_sizes(size),
            concurrency=[int(text) for text in _split(concurrency)],
            parts=_sizes(part),
            orders=_split(order),
            ranges=_sizes(range_),
            keys=_sizes(keys),
            uploads=uploads,
            duplicates=duplicates,
            rate=rate,
            dataset_bytes=parse_size(dataset),
        )
        stored_bytes_max = parse_size(peer_bytes_max)
        chosen = _split(scenario) or list(SCENARIOS)
        for name in chosen:
            if name not in SCENARIOS:
                raise ValueError(f"no scenario {name!r}: choose from {', '.join(SCENARIOS)}")
        for name in wishes.orders:
            if name not in (*PART_ORDERS, *RANGE_ORDERS):
                raise ValueError(f"no order {name!r}: ascending, shuffled, random or sequential")
        if payload not in ("unsigned", "signed"):
            raise ValueError("--payload is unsigned or signed")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _allow_many_files()
    settings = Settings(
        seconds=seconds,
        count=count,
        rounds=rounds,
        warmup_seconds=warmup,
        verify=verify,
        limits=limits,
        bucket=bucket,
        payload=payload,
        timeout_seconds=timeout,
        tls_insecure=insecure,
        stored_bytes_max=stored_bytes_max,
        cleanup=cleanup,
    )
    cases = [case for name in chosen for case in SCENARIOS[name].cases(wishes)]
    if quick:
        cases, settings = _quick(cases, settings)
    interrupted = False
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        directory = stack.enter_context(_workplace(work_dir))
        file = stack.enter_context(output.open("w")) if output else None

        recording = Recording(file)
        recording.add(_run_record(directory, settings, processes))
        pids = dict(_pair(text) for text in server_pid or [])
        endpoints = [
            _remote(text, access_key, secret, region, settings, pids) for text in endpoint or []
        ]
        endpoints += _start_peers(
            stack,
            console,
            peer or ([] if endpoint else ["dsn"]),
            binary,
            peer_args,
            directory,
            recording,
        )
        if not endpoints:
            raise typer.Exit(1)
        generators = Generators(processes or default_processes())
        stack.callback(generators.close)
        progress = stack.enter_context(
            Progress(console, len(cases) * len(endpoints) * settings.rounds)
        )
        runner = Runner(endpoints, settings, generators, directory, progress, recording.add)
        local_only = frozenset(s.name for s in SCENARIOS.values() if s.local_only)
        try:
            runner.run(cases, local_only)
            runner.clean_up()
        except KeyboardInterrupt:
            interrupted = True
            console.print("interrupted: these are the results so far", style="bold red")
    results = gather(recording.records)
    print_results(console, results)
    if html:
        html.write_text(html_report(results))
        console.print(f"report: {html}", highlight=False)
    if interrupted or results.skipped or any(line.errors for line in results.lines):
        raise typer.Exit(1)


@cli.command()
def fill(
    data_dir: Annotated[Path, typer.Argument(metavar="DIR", help="An empty data directory.")],
    objects: Annotated[str, typer.Option(help="How many in all.")] = "1M",
    chunks: Annotated[str, typer.Option(help="Blocks in the index in all.")] = "10M",
    bucket: Annotated[str, typer.Option(help="Where the objects go.")] = "benchmark",
) -> None:
    """Fill a store of this gateway as no benchmark has the time to upload one.

    Small objects are real. Large ones are names and rows of the index over sparse files.
    """
    try:
        filling = _filling(objects, chunks)
        with Status("", console=_console()) as status:
            fill_directory(
                data_dir,
                filling,
                bucket=bucket,
                progress=lambda what, done, total: status.update(f"{done:,} of {total:,} {what}"),
            )
    except (ValueError, OSError, RuntimeError) as error:
        raise typer.BadParameter(str(error)) from None


@cli.command()
def scale(
    objects: Annotated[str, typer.Option(help="In the filled store.")] = "1M",
    chunks: Annotated[str, typer.Option(help="In the filled store's index.")] = "10M",
    filled: Annotated[
        Path | None, typer.Option(metavar="DIR", help="What `fill` made of them, to be copied.")
    ] = None,
    binary: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Another dsn-gateway to measure.")
    ] = None,
    concurrency: Annotated[int, typer.Option("--concurrency", "-c")] = 8,
    connections: Annotated[int, typer.Option(help="Open at once, for their memory.")] = 5000,
    seconds: Annotated[float, typer.Option(help="Length of a round.")] = 4.0,
    rounds: Annotated[int, typer.Option(help="The stores take turns in each.")] = 3,
    work_dir: Annotated[Path | None, typer.Option(help="Where the stores lie.")] = None,
    output: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write JSON lines.")
    ] = None,
) -> None:
    """Compare an empty store with a filled one: requests, starts, memory."""
    try:
        filling = _filling(objects, chunks)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    console = _console()
    _allow_many_files()
    settings = Settings(seconds=seconds, rounds=rounds, limits=False, stored_bytes_max=1 << 60)
    with ExitStack() as stack:
        stack.enter_context(_stoppable())
        directory = stack.enter_context(_workplace(work_dir))
        file = stack.enter_context(output.open("w")) if output else None

        recording = Recording(file)
        recording.add(_run_record(directory, settings, 0))
        kind = f"dsn:{binary}" if binary else "dsn"
        endpoints = []
        for label in ("empty", "filled"):
            server = make_server(f"{label}={kind}", directory, {})
            stack.callback(server.wipe)
            if label == "filled":
                console.print(f"filling {filling.objects:,} objects, {filling.chunks:,} chunks")
                make_filled(server, filling, filled)
            server.start()
            endpoints.append(Endpoint(label, server=server))
        endpoints[1].sets |= stored_sets(filling)
        generators = Generators(default_processes())
        stack.callback(generators.close)
        wanted = scale_cases(concurrency)
        progress = stack.enter_context(Progress(console, len(wanted) * 2 * rounds))
        runner = Runner(endpoints, settings, generators, directory, progress, recording.add)
        runner.run(wanted, frozenset())
        scale_run = ScaleRun(runner, generators, connections, console.print)
        found = scale_run.measure(endpoints, rounds)
        for figures in found:
            recording.add({"kind": "scale", "endpoint": figures.label, "values": figures.values})
    results = gather(recording.records)
    console.print(scale_table(("empty", "filled"), comparison(results, found)))
    for line in results.lines:
        for text, count in line.errors.items():
            console.print(f"{line.case} on {line.endpoint}: {count} x {text}", style="red")
    if results.skipped or any(line.errors for line in results.lines):
        raise typer.Exit(1)


@cli.command()
def report(
    results: Annotated[Path, typer.Argument(metavar="A.json", exists=True, dir_okay=False)],
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a report.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="One table, as a README shows it.")
    ] = False,
) -> None:
    """Show results again: tables, and a report in HTML."""
    with _errors():
        found = read(results)
    if markdown:
        typer.echo(markdown_table(found), nl=False)
    else:
        print_results(_console(), found)
    if html:
        html.write_text(html_report(found))


@cli.command("compare")
def compare_(
    before: Annotated[Path, typer.Argument(metavar="A.json", exists=True, dir_okay=False)],
    after: Annotated[Path, typer.Argument(metavar="B.json", exists=True, dir_okay=False)],
    pair: Annotated[
        Lists, typer.Option(metavar="A=B", help="Endpoint of A and the one of B to compare.")
    ] = None,
    worse: Annotated[
        float, typer.Option(help="Exit with 1 when a figure is clearly worse by this share.")
    ] = 0.1,
) -> None:
    """Compare two runs; a difference counts when the rounds of the two do not overlap."""
    with _errors():
        first, second = read(before), read(after)
    pairs = dict(_pair(text) for text in pair) if pair else pair_endpoints(first, second)
    changes = list(compare(first, second, pairs))
    if not changes:
        raise typer.BadParameter("the two runs have no case on the same endpoint; see --pair")
    console = _console()
    console.print(comparison_table(changes, worse))
    bad = regressions(changes, worse)
    console.print(f"{len(bad)} figures clearly worse by more than {worse:.0%}", highlight=False)
    if bad:
        raise typer.Exit(1)


@cli.command("scenarios")
def scenarios_() -> None:
    """List the scenarios."""
    for scenario in SCENARIOS.values():
        print(f"{scenario.name:<12} {scenario.about}")


@cli.command()
def peers() -> None:
    """List the servers that the harness can start, and whether they are installed."""
    for kind in KINDS.values():
        try:
            make_server(kind.name, Path(), {})
            state = "installed"
        except PeerError:
            state = f"missing ({kind.how_to_get})"
        print(f"{kind.name:<10} {kind.promise}; {state}")


def _start_peers(
    stack: ExitStack,
    console: Console,
    peers: list[str],
    binary: Lists,
    peer_args: Lists,
    directory: Path,
    recording: Recording,
) -> list[Endpoint]:
    arguments = dict(_pair(text) for text in peer_args or [])
    started: list[Endpoint] = []
    for text in [one for given in peers for one in given.split(",")]:
        try:
            server = make_server(_with_binary(text, peers, binary or []), directory, arguments)
            server.start()
        except (PeerError, OSError) as error:
            console.print(f"skipped: {text}: {error}", style="bold red", markup=False)
            recording.add(
                {"kind": "skipped", "case": "all", "endpoint": text, "reason": str(error)}
            )
            continue
        stack.callback(server.wipe)
        recording.add(
            {
                "kind": "endpoint",
                "label": server.label,
                "server": server.kind.name,
                "version": server.version(),
                "promise": server.kind.promise,
                "arguments": list(server.arguments),
            }
        )
        started.append(Endpoint(server.label, server=server))
    return started


def _with_binary(peer: str, peers: list[str], binaries: list[str]) -> str:
    """A peer with the program that was given for it apart."""
    label, _, rest = peer.rpartition("=")
    kind = rest.partition(":")[0]
    if ":" in rest:
        return peer
    for text in binaries:
        owner, equals, path = text.partition("=")
        if equals and owner in (label, kind):
            return f"{peer}:{path}"
        if not equals and (kind in Path(text).name or len(peers) == 1):
            return f"{peer}:{text}"
    return peer


def _remote(
    text: str,
    access_key: str,
    secret: str,
    region: str,
    settings: Settings,
    pids: dict[str, str],
) -> Endpoint:
    label, equals, address = text.partition("=")
    if not equals or "/" in label:
        label, address = "", text
    parts = urlsplit(address if "//" in address else f"http://{address}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise typer.BadParameter(f"{address!r} is not http://HOST[:PORT][/BASE]")
    label = label or parts.hostname
    tls = parts.scheme == "https"
    target = Target(
        label,
        parts.hostname,
        parts.port or (443 if tls else 80),
        settings.bucket,
        parts.path.rstrip("/"),
        tls,
        unquote(parts.username or access_key),
        unquote(parts.password or secret),
        region,
        settings.payload,
    )
    tree = ProcessTree(int(pids[label])) if label in pids else None
    return Endpoint(label, remote=target, remote_tree=tree)


def _allow_many_files() -> None:
    """Thousands of connections, here and in the servers, which inherit this."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _filling(objects: str, chunks: str) -> Filling:
    return Filling(parse_size(objects), parse_size(chunks))


def _console() -> Console:
    console = Console()
    # In a file or a pipe there is no reason to break lines.
    return console if console.is_terminal else Console(width=170)


@contextmanager
def _stoppable() -> Iterator[None]:
    """SIGTERM as Ctrl-C, also where a shell has Ctrl-C ignored: servers must not be left behind."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except ResultsError as error:
        raise typer.BadParameter(str(error)) from None


@contextmanager
def _workplace(given: Path | None) -> Iterator[Path]:
    """An empty folder, removed at the end."""
    if given:
        given.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="benchmark-", dir=given))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _run_record(directory: Path, settings: Settings, processes: int) -> Record:
    try:
        own = version("dsn-gateway")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "kind": "run",
        "format": FORMAT,
        "version": own,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": describe(directory),
        "settings": {
            "seconds": settings.seconds,
            "rounds": settings.rounds,
            "warmup_seconds": settings.warmup_seconds,
            "payload": settings.payload,
            "verify": settings.verify,
            "processes": processes or default_processes(),
        },
    }


def _quick(cases: list[Case], settings: Settings) -> tuple[list[Case], Settings]:
    # What only differed in size may now be the same.
    small = {case.id: case for case in map(quick_case, cases)}
    return list(small.values()), replace(settings, rounds=1, warmup_seconds=0.0, seconds=0.3)


def _split(given: Lists) -> list[str]:
    return [part.strip() for text in given or [] for part in text.split(",") if part.strip()]


def _sizes(given: Lists) -> list[int]:
    return [parse_size(text) for text in _split(given)]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r}: write LABEL=VALUE")
    return name, value
