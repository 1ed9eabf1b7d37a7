"""The HTTP server of `pocketquant serve`; its addresses are those of the official server."""

from pocketquant.server.app import create_app
from pocketquant.server.run import listening, run

__all__ = ["create_app", "listening", "run"]
