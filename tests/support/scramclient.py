"""scramp's client of SCRAM, an implementation that is not ours, also with the channel binding of TLS 1.3."""

from scramp import ScramClient
from scramp.core import CbName

# Python's own ssl cannot give tls-exporter data, so scramp refuses the name; what it does with the data is the same.
CbName.SUPPORTED_TYPES = CbName.SUPPORTED_TYPES | {"tls-exporter"}
CbName.UNSUPPORTED_TYPES = frozenset()


def scram_client(name: str, password: str, binding: bytes | None = None) -> ScramClient:
    """A client that binds itself to the connection with that data, if there are any."""
    if binding is None:
        return ScramClient(["SCRAM-SHA-256"], name, password)
    return ScramClient(["SCRAM-SHA-256-PLUS"], name, password, channel_binding=("tls-exporter", binding))
