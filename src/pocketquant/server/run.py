"""Sockets, and uvicorn on them until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from collections.abc import Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from pocketquant.errors import PocketQuantError

SHUTDOWN_S = 1
"""How long open answers may go on after Ctrl-C."""


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # An answer that is cut off from now on is no error.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        super().handle_exit(sig, frame)


def run(app: FastAPI, sockets: list[socket.socket]) -> None:
    """Serve until Ctrl-C or SIGTERM; warnings and errors go to stderr."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=SHUTDOWN_S)
    with contextlib.suppress(KeyboardInterrupt):  # it comes after all is shut down
        _Server(config).run(sockets=sockets)


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets on every address of `host` (localhost has two), closed at the end of the block.

    They can come before the model is loaded: a port in use is said at once.

    Args:
        host: a name or an address.
        port: 0 takes a free one.

    Raises:
        PocketQuantError: the port is in use, or the machine has no such address.
    """
    sockets: list[socket.socket] = []
    failures: list[OSError] = []
    try:
        for family, address in _addresses(host, port):
            opened = _open(family, address, port)
            if isinstance(opened, OSError):
                failures.append(opened)
            else:
                sockets.append(opened)
                port = opened.getsockname()[1]  # the same for all, where a free one is to be taken
        # A name may stand for an address that this machine does not have; a port in use is never meant.
        for error in failures:
            if error.errno == errno.EADDRINUSE or not sockets:
                raise _refused(host, port, error)
        yield sockets
    finally:
        for one in sockets:
            one.close()


def _open(family: socket.AddressFamily, address: str, port: int) -> socket.socket | OSError:
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        return error


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _refused(host, port, error) from error
    return [(family, str(address[0])) for family, *_, address in found]


def _refused(host: str, port: int, error: OSError) -> PocketQuantError:
    known = (error.errno or 0) > 0  # those of name resolution are negative
    why = os.strerror(error.errno or 0) if known else error.strerror
    return PocketQuantError(f"cannot listen on {host}:{port} ({why}); give another --host or --port")
