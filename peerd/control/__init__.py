"""The control API: a gRPC server, one servicer per noun. Servicers translate; the node decides."""

from peerd.control.server import ControlServer, TlsFiles

__all__ = ["ControlServer", "TlsFiles"]
