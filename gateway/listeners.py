"""Turns the addresses of the configuration into bound sockets, for one process or for many."""

from __future__ import annotations

import errno
import ipaddress
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Address, TcpAddress, UnixAddress

# As many as the kernel allows (net.core.somaxconn caps it).
BACKLOG = 4096


class ListenError(Exception):
    """An address that cannot be listened on; the message says which and what to do."""


@dataclass(frozen=True)
class Listener:
    """A bound socket and its address, where port 0 has become the real one."""

    socket: socket.socket
    address: Address

    def endpoint(self, scheme: str, base_path: str = "/") -> str:
        """The URL for clients on this machine: `http://127.0.0.1:3000/s3`."""
        path = base_path.rstrip("/")
        if isinstance(self.address, UnixAddress):
            return f"{self.address}{path}"
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        host = here.get(self.address.host, self.address.host)
        return f"{scheme}://{TcpAddress(host, self.address.port)}{path}"


def resolve(addresses: Iterable[Address]) -> list[Address]:
    """Host names replaced by all their IP addresses. Raises ListenError for an unknown name."""
    resolved: list[Address] = []
    for address in addresses:
        if isinstance(address, UnixAddress):
            resolved.append(address)
            continue
        try:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
        resolved += [TcpAddress(str(sockaddr[0]), address.port) for *_, sockaddr in found]
    return list(dict.fromkeys(resolved))


def is_local(address: Address) -> bool:
    """Whether only this machine can reach a resolved address."""
    if isinstance(address, UnixAddress):
        return True
    return ipaddress.ip_address(address.host.partition("%")[0]).is_loopback


def bind(addresses: Iterable[Address], *, shared: bool) -> list[Listener]:
    """Binds resolved addresses; ports are ours from here on. Raises ListenError.

    With `shared` the TCP sockets only hold their ports: each worker binds its own with
    `for_worker`. Otherwise, and for Unix sockets always, they listen already.
    """
    bound: list[Listener] = []
    ports: dict[int, int] = {}
    try:
        for address in addresses:
            if isinstance(address, UnixAddress):
                bound.append(Listener(_bind_unix(address.path), address))
                continue
            # One name with two addresses, as localhost, gets one port for both.
            wanted = TcpAddress(address.host, ports.get(address.port, address.port))
            if shared and wanted.port:
                # Binding alone would succeed beside another gateway that shares the port.
                _bind_tcp(wanted, shared=False).close()
            made = _bind_tcp(wanted, shared=shared)
            port = made.getsockname()[1]
            if address.port == 0:
                ports.setdefault(0, port)
            if not shared:
                made.listen(BACKLOG)
            bound.append(Listener(made, TcpAddress(address.host, port)))
    except BaseException:
        close(bound)
        raise
    return bound


def for_worker(held: Iterable[Listener]) -> list[Listener]:
    """The listening sockets of one of several workers.

    Each worker has its own socket on a port, so that the kernel spreads the connections; a Unix
    socket knows no such sharing and is the same in all.
    """
    mine = []
    for listener in held:
        if isinstance(listener.address, TcpAddress):
            own = _bind_tcp(listener.address, shared=True)
            own.listen(BACKLOG)
            mine.append(Listener(own, listener.address))
        else:
            mine.append(listener)
    return mine


def close(listeners: Iterable[Listener]) -> None:
    """Closes the sockets and removes the files of Unix ones."""
    for listener in listeners:
        listener.socket.close()
        if isinstance(listener.address, UnixAddress):
            listener.address.path.unlink(missing_ok=True)


def _bind_tcp(address: TcpAddress, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        raise ListenError(_why_not(address, error)) from None
    return made


def _bind_unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _refuse_if_served(path)
            # Left behind by a process that was killed.
            path.unlink()
        made.bind(str(path))
        # The group too, for a proxy in front; who else gets in, the directory decides.
        path.chmod(0o660)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ListenError(_why_not(UnixAddress(path), error)) from None
    return made


def _refuse_if_served(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return
    raise OSError(errno.EADDRINUSE, "in use")


def _why_not(address: Address, error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno == errno.EADDRINUSE:
        why = "it is in use; stop the other program or choose another with --addr"
    elif error.errno == errno.EACCES:
        why = "permission denied; ports below 1024 and some directories need rights"
    return f"cannot listen on {address}: {why}"
