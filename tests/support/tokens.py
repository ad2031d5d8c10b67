"""An issuer of tokens for tests: keys, their set, and tokens of every kind."""

import base64
import json
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ISSUER, AUDIENCE = "https://login.example.org", "imap"


class TokenIssuer:
    """Has a key of each kind, by its name in the set."""

    def __init__(self) -> None:
        self.keys = {
            "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
            "ed": ed25519.Ed25519PrivateKey.generate(),
        }

    def key_set(self, *names: str) -> bytes:
        """The public keys of those names, or all."""
        kinds = {
            "rsa": jwt.algorithms.RSAAlgorithm,
            "ec": jwt.algorithms.ECAlgorithm,
            "ed": jwt.algorithms.OKPAlgorithm,
        }
        listed = []
        for name in names or self.keys:
            one = json.loads(kinds[name].to_jwk(self.keys[name].public_key()))
            listed.append({**one, "kid": name, "use": "sig"})
        return json.dumps({"keys": listed}).encode()

    def token(self, key: str = "rsa", algorithm: str = "RS256", kid: str | None = "", **claims: object) -> str:
        """A token; a claim of None is left out."""
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": int(time.time()) + 600,
            "email": "ada@acme.example",
            "scope": "mail imap",
            **claims,
        }
        said = {name: value for name, value in said.items() if value is not None}
        headers = {} if kid is None else {"kid": kid or key}
        return jwt.encode(said, self.keys[key], algorithm=algorithm, headers=headers)


def unsigned(header: dict[str, object], claims: dict[str, object], signature: bytes = b"") -> str:
    """A token put together by hand."""
    pieces = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(piece).decode().rstrip("=") for piece in pieces)
