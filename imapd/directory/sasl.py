"""SASL mechanisms as generators; nothing in here knows IMAP, base64, sockets or directories.

`exchange()` yields octets, which are a challenge and are answered with the client's response, or something to be asked
of the directories:

    Wanted      whose name it is; answered with a Candidate, for any name whatever
    a proof     Credentials, ScramProof, Certified or Bearer; answered with nothing when the person has been let in.
                Refused is thrown in at this place where he is not, and may be answered by a last challenge

and returns when all has been said. BadSyntax is raised for a response that does not follow the mechanism. Where
`initial_response_allowed`, a response that came with the command answers the first challenge, which is then not sent.
A cancelled exchange is a closed generator. Of a mechanism that ended without a proof that was answered nobody came in.

    PLAIN          RFC 4616
    LOGIN          has no RFC: two prompts as other servers word them, because some clients look at them
    EXTERNAL       RFC 4422 appendix A: the client's certificate
    SCRAM-SHA-256  RFC 5802, RFC 7677; -PLUS with the channel binding tls-exporter (RFC 9266)
    OAUTHBEARER    RFC 7628; XOAUTH2 is what came before it and is still what most clients speak
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Any, Protocol

from imapd.directory.scram import ScramVerifier
from imapd.model.errors import BadSyntax, Refused


class Needs(Flag):
    """What has to be there before a mechanism is offered."""

    NOTHING = 0
    PRIVACY = auto()  # it sends secrets that somebody who listens could use
    NAMES = auto()  # logins by name and password have to be wanted
    CERTIFICATE = auto()  # the client has shown one that is valid
    BINDING = auto()  # the connection has channel binding data
    VERIFIERS = auto()  # people have verifiers for SCRAM


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The connection. binding: its tls-exporter data; binding_offered: the client was told of a -PLUS mechanism."""

    binding: bytes | None = field(default=None, repr=False)
    binding_offered: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody begins: under this name."""

    authcid: str


class Candidate(Protocol):
    """Somebody who has yet to prove to be it, or nobody."""

    @property
    def verifier(self) -> ScramVerifier:
        """What his proof is held against; of nobody, one that no proof fits."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody says to be, what proves it, and as whom he wants to act (None: as himself)."""

    authcid: str
    password: bytes = field(repr=False)
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class ScramProof:
    """The outcome of SCRAM. fault: why it is none, for the log, or None where the client knows the password."""

    authcid: str
    candidate: Candidate = field(repr=False)
    fault: str | None
    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class Certified:
    """The client's certificate is to say who he is."""

    authzid: str | None = None


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token that somebody else has issued is to say who he is. The user that the client names is himself."""

    token: str = field(repr=False)
    user: str | None = None


Proof = Credentials | ScramProof | Certified | Bearer
Exchange = Generator[bytes | Wanted | Proof, Any, None]


class Mechanism(Protocol):
    """One SASL mechanism."""

    name: str
    initial_response_allowed: bool
    needs: Needs

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """The server's side of one authentication."""


class Plain:
    """PLAIN: everything in one message."""

    name = "PLAIN"
    initial_response_allowed = True
    needs = Needs.PRIVACY | Needs.NAMES

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """message = [authzid] NUL authcid NUL passwd"""
        response = yield b""
        pieces = response.split(b"\0")
        if len(pieces) != 3:
            raise BadSyntax("PLAIN wants [authzid] NUL authcid NUL password")
        authzid, authcid, password = pieces
        yield Credentials(_name(authcid), password, _name(authzid) if authzid else None)


class Login:
    """LOGIN: prompts for the name, then for the password."""

    name = "LOGIN"
    initial_response_allowed = True
    needs = Needs.PRIVACY | Needs.NAMES

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """The name, then the password."""
        # Some clients end both with a NUL, as C strings.
        authcid = _name((yield b"Username:").removesuffix(b"\0"))
        password = (yield b"Password:").removesuffix(b"\0")
        yield Credentials(authcid, password)


class External:
    """EXTERNAL: the certificate has said all; the client may say as whom he wants to act."""

    name = "EXTERNAL"
    initial_response_allowed = True
    needs = Needs.CERTIFICATE

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """extern-resp = *( UTF8-char-no-nul )"""
        response = yield b""
        yield Certified(_name(response) if response else None)


_GS2 = re.compile(rb"(?P<flag>n|y|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,]+))?,")
_FIRST = re.compile(rb"n=(?P<name>[^,]+),r=(?P<nonce>[\x21-\x2b\x2d-\x7e]+)(?:,.*)?", re.DOTALL)
_FINAL = re.compile(
    rb"(?P<bare>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[^,]+)(?:,[A-Za-z]=[^,]*)*),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_NONCE = 18  # octets of ours, 24 characters


class ScramSha256:
    """SCRAM-SHA-256: the client proves to know the password, and the server to know its verifier."""

    name = "SCRAM-SHA-256"
    initial_response_allowed = True
    needs = Needs.NAMES | Needs.VERIFIERS
    bound = False

    def __init__(self, nonce: Callable[[], str] = lambda: secrets.token_urlsafe(_NONCE)) -> None:
        self._nonce = nonce

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """client-first, server-first, client-final, server-final (RFC 5802 section 5)."""
        message = yield b""
        header = _GS2.match(message)
        first = _FIRST.fullmatch(message, header.end()) if header else None
        if header is None or first is None:
            # "m=" announces an extension that must be understood (section 5.1), and none is known.
            raise BadSyntax("SCRAM wants a GS2 header, n=name and r=nonce")
        authcid = _saslname(first["name"])
        authzid = _saslname(header["authzid"]) if header["authzid"] else None
        data = self._binding(header, surroundings)
        candidate: Candidate = yield Wanted(authcid)
        verifier = candidate.verifier
        nonce = first["nonce"] + self._nonce().encode("ascii")
        salt = base64.b64encode(verifier.salt)
        challenge = b"r=%b,s=%b,i=%d" % (nonce, salt, verifier.iterations)
        final = _FINAL.fullmatch((yield challenge))
        if final is None or final["nonce"] != nonce:
            raise BadSyntax("SCRAM wants c=binding, r= with both nonces and p=proof")
        said = b",".join((message[header.end() :], challenge, final["bare"]))
        fault = None
        if not hmac.compare_digest(_unbase64(final["binding"]), header[0] + data):
            fault = "the channel binding is another connection's"
        elif not _proves(verifier, said, _unbase64(final["proof"])):
            fault = "the proof is not that of the password"
        yield ScramProof(authcid, candidate, fault, authzid)
        signature = hmac.digest(verifier.server_key, said, "sha256")
        if (yield b"v=" + base64.b64encode(signature)):
            raise BadSyntax("The last message of SCRAM is empty.")

    def _binding(self, header: re.Match[bytes], surroundings: Surroundings) -> bytes:
        """The data that the client has to repeat; BadSyntax where flag and mechanism do not go together."""
        if not self.bound and header["binding"] is None:
            if header["flag"] == b"y" and surroundings.binding_offered:
                # He would have bound the channel if he had seen the offer: somebody has taken it out (section 6).
                raise BadSyntax("This server offers channel binding; somebody may be between you and it.")
            return b""
        if not self.bound or header["binding"] != b"tls-exporter" or surroundings.binding is None:
            raise BadSyntax(f"{self.name} does not go with that channel binding.")
        return surroundings.binding


class ScramSha256Plus(ScramSha256):
    """The same, bound to the TLS connection."""

    name = "SCRAM-SHA-256-PLUS"
    needs = Needs.NAMES | Needs.VERIFIERS | Needs.BINDING
    bound = True


def _proves(verifier: ScramVerifier, said: bytes, proof: bytes) -> bool:
    """ClientProof is the client key, which the stored key is the hash of, hidden by a signature (section 3)."""
    signature = hmac.digest(verifier.stored_key, said, "sha256")
    if len(proof) != len(signature):
        return False
    key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.sha256(key).digest(), verifier.stored_key)


def _saslname(octets: bytes) -> str:
    """saslname: "," is written "=2C" and "=" is written "=3D" (section 5.1)."""
    if re.search(rb"=(?!2C|3D)", octets):
        raise BadSyntax('"=" stands in a name as =3D, and "," as =2C')
    return _name(octets.replace(b"=2C", b",").replace(b"=3D", b"="))


class OAuthBearer:
    """OAUTHBEARER: a token; a client that is refused is told so in JSON before the end (RFC 7628 section 3.2)."""

    name = "OAUTHBEARER"
    initial_response_allowed = True
    needs = Needs.PRIVACY
    refusal = {"status": "invalid_token"}

    def exchange(self, surroundings: Surroundings) -> Exchange:
        """gs2-header kvsep *kvpair kvsep; the token is in the pair auth=Bearer ..."""
        bearer = self._read((yield b""))
        try:
            yield bearer
        except Refused:
            yield json.dumps(self.refusal).encode("ascii")  # the client answers with a %x01, or with nothing
            raise

    def _read(self, message: bytes) -> Bearer:
        header = _GS2.match(message)
        if header is None or header["binding"] is not None or message[header.end() :][:1] != b"\1":
            raise BadSyntax("OAUTHBEARER wants a GS2 header without channel binding, and pairs")
        user = _saslname(header["authzid"]) if header["authzid"] else None
        return Bearer(_token(_pairs(message[header.end() + 1 :])), user)


class XOAuth2(OAuthBearer):
    """XOAUTH2: the same before it had an RFC; the user is a pair too."""

    name = "XOAUTH2"
    refusal = {"status": "401", "schemes": "bearer", "scope": "mail"}

    def _read(self, message: bytes) -> Bearer:
        pairs = _pairs(message)
        if not pairs.get(b"user"):
            raise BadSyntax("XOAUTH2 wants a user")
        return Bearer(_token(pairs), _name(pairs[b"user"]))


def _pairs(octets: bytes) -> dict[bytes, bytes]:
    """*(key "=" value %x01) %x01"""
    if not octets.endswith(b"\1\1") and octets != b"\1":
        raise BadSyntax("the pairs have no end")
    found: dict[bytes, bytes] = {}
    for pair in octets.rstrip(b"\1").split(b"\1"):
        key, equals, value = pair.partition(b"=")
        if not equals or key.lower() in found:
            raise BadSyntax("a pair is key=value, each key once")
        found[key.lower()] = value
    return found


def _token(pairs: dict[bytes, bytes]) -> str:
    # RFC 6750 section 2.1: b64token.
    match = re.fullmatch(rb"bearer +([A-Za-z0-9._~+/-]+=*) *", pairs.get(b"auth", b""), re.IGNORECASE)
    if match is None:
        raise BadSyntax("a token is wanted: auth=Bearer ...")
    return match[1].decode("ascii")


def _unbase64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise BadSyntax("the data is not base64") from None


def _name(octets: bytes) -> str:
    try:
        name = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadSyntax("names are in UTF-8") from None
    if not name or "\0" in name:
        raise BadSyntax("a name is missing")
    return name


# In the order in which they are offered: a client that has no opinion takes the first that it knows.
MECHANISMS: dict[str, type[Mechanism]] = {
    one.name: one for one in (ScramSha256Plus, ScramSha256, External, OAuthBearer, XOAuth2, Plain, Login)
}
