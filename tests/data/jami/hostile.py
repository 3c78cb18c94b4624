#!/usr/bin/python3
"""Writes hostile.json: requests for certificates (PKCS#10) that no Jami client would send.

  "refused"   a key, a signature or an encoding that is not good: nothing may be issued
  "harmless"  a good key that asks for more than it gets

Wherever there can be one, the signature is right: what is refused is refused for what its name says. Needs
python3-cryptography. Keys are new on each run and kept nowhere.
"""

import base64
import hashlib
import json
import math
import random
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

LABEL = "NEW CERTIFICATE REQUEST"
RSA = "1.2.840.113549.1.1.1"
UID = "0.9.2342.19200300.100.1.1"
# Digests in PKCS#1 signatures (RFC 8017, section 9.2): OID of the signature, of the digest, the function.
SIGNATURES = {
    "md5": ("1.2.840.113549.1.1.4", "1.2.840.113549.2.5", hashlib.md5),
    "sha1": ("1.2.840.113549.1.1.5", "1.3.14.3.2.26", hashlib.sha1),
    "sha224": ("1.2.840.113549.1.1.14", "2.16.840.1.101.3.4.2.4", hashlib.sha224),
    "sha384": ("1.2.840.113549.1.1.12", "2.16.840.1.101.3.4.2.2", hashlib.sha384),
}
rng = random.SystemRandom()


# DER, as strict as a caller lets it be.


def tlv(tag, *parts):
    content = b"".join(parts)
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + content


def sequence(*parts):
    return tlv(0x30, *parts)


def integer(number):
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(text):
    first, second, *rest = map(int, text.split("."))
    out = [first * 40 + second]
    for arc in rest:
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(0x80 | arc & 0x7F)
        out += reversed(septets)
    return tlv(6, bytes(out))


NULL = tlv(5)


def bits(content, unused=0):
    return tlv(3, bytes([unused]), content)


def name(*pairs):
    return sequence(*(tlv(0x31, sequence(oid(kind), tlv(12, text.encode()))) for kind, text in pairs))


def pem(der, label=LABEL):
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return f"-----BEGIN {label}-----\n" + "".join(line + "\n" for line in lines) + f"-----END {label}-----\n"


# Numbers.


def is_prime(n):
    if any(n % p == 0 for p in SMALL):
        return n in SMALL
    d, s = n - 1, 0
    while d % 2 == 0:
        d, s = d // 2, s + 1
    for _ in range(24):
        x = pow(rng.randrange(2, n - 1), d, n)
        if x in (1, n - 1):
            continue
        for _ in range(s - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


SMALL = [p for p in range(2, 2000) if all(p % q for q in range(2, int(p**0.5) + 1))]


def prime(size, e=65537):
    """Its two highest bits are set, so that products have the bits of both."""
    while True:
        p = rng.getrandbits(size) | 3 << size - 2 | 1
        if is_prime(p) and math.gcd(e, p - 1) == 1:
            return p


def roca(size):
    """A prime as the broken generator made them (CVE-2017-15361)."""
    primorial = math.prod(SMALL[: 71 if size < 992 else 126])
    while True:
        k = rng.getrandbits(size - primorial.bit_length())
        p = k * primorial + pow(65537, rng.randrange(1, primorial), primorial)
        if p.bit_length() >= size - 1 and is_prime(p) and math.gcd(65537, p - 1) == 1:
            return p


class Key:
    """An RSA key of any primes, in any number."""

    def __init__(self, *primes, e=65537, n=None, d=None):
        self.n, self.e = n or math.prod(primes), e
        self.d = d or pow(e, -1, math.lcm(*(p - 1 for p in primes)))

    def public(self):
        return sequence(integer(self.n), integer(self.e))

    def spki(self):
        return sequence(sequence(oid(RSA), NULL), bits(self.public()))

    def sign(self, message, digest="sha384"):
        _, name, function = SIGNATURES[digest]
        size = (self.n.bit_length() + 7) // 8
        info = sequence(sequence(oid(name), NULL), tlv(4, function(message).digest()))
        padded = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
        return pow(int.from_bytes(padded, "big"), self.d, self.n).to_bytes(size, "big")


def key(size=2048, count=2, e=65537):
    return Key(*(prime(size // count, e) for _ in range(count)), e=e)


def request(
    key,
    spki=None,
    subject=None,
    version=0,
    attributes=tlv(0xA0),
    digest="sha384",
    algorithm=None,
    signer=None,
    signed=None,
    signature=None,
    after=b"",
):
    spki = spki or key.spki()
    subject = subject or name(("2.5.4.3", "Jami device"), (UID, hashlib.sha1(spki).hexdigest()))
    info = sequence(integer(version), subject, spki, attributes)
    algorithm = algorithm or sequence(oid(SIGNATURES[digest][0]), NULL)
    signature = signature or (signer or key).sign(signed or info, digest)
    return sequence(info, algorithm, bits(signature), after)


# Of programs that write such requests properly.


def written(private, digest=hashes.SHA384(), subject=None, extensions=()):
    builder = x509.CertificateSigningRequestBuilder()
    subject = subject or [(NameOID.COMMON_NAME, "Jami device")]
    builder = builder.subject_name(x509.Name([x509.NameAttribute(*pair) for pair in subject]))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(private, digest).public_bytes(serialization.Encoding.DER)


def openssl(size=2048, e=65537):
    return rsa.generate_private_key(e, size)


def refused():
    good, other = key(), key()
    csr = request(good)
    n, e = integer(good.n), integer(good.e)

    def spki(public, algorithm=sequence(oid(RSA), NULL), unused=0):
        return sequence(algorithm, bits(public, unused))

    yield "RSA of 512 bits", request(key(512))
    yield "RSA of 1024 bits", request(key(1024))
    yield "RSA of 2047 bits", request(Key(prime(1024), prime(1023)))
    yield "RSA of 8200 bits", request(key(8200, 20))
    yield "RSA of 16384 bits", request(key(16384, 32))
    for small in (3, 5, 17, 257, 65535):
        yield f"e={small}", request(key(e=small))
    yield "e=1", request(Key(n=good.n, e=1, d=1))
    yield "e=2", request(good, spki(sequence(n, integer(2))))
    yield "e=65538", request(good, spki(sequence(n, integer(65538))))
    yield "e=0", request(good, spki(sequence(n, integer(0))))
    yield "e of 64 bits", request(key(e=2**63 + 29))
    yield "e as long as the modulus", request(Key(n=good.n, e=good.d, d=good.e))
    yield "an even modulus", request(Key(2, prime(1024), prime(1023)))
    yield "a modulus divisible by 3", request(Key(3, prime(1024), prime(1023), e=65537))
    yield "a modulus divisible by 751", request(Key(751, prime(1024), prime(1015)))
    yield "ROCA", request(Key(roca(1024), roca(1024)))
    yield "another signature", request(good, signature=bytes(reversed(good.sign(b"text"))))
    yield "no signature", request(good, signature=b"\0" * 256)
    yield "signed by another key", request(good, signer=other)
    yield "the key swapped after signing", csr.replace(good.public(), other.public())
    yield "a signature of another text", request(good, signed=b"text")
    for weak in ("md5", "sha1", "sha224"):
        yield f"signed with {weak}", request(good, digest=weak)
    yield "an unknown signature", request(good, algorithm=sequence(oid("1.2.3.4"), NULL))
    yield "another digest than it says", request(good, algorithm=sequence(oid("1.2.840.113549.1.1.11"), NULL))
    yield "version 2", request(good, version=1)
    yield "a modulus with a zero before it", request(good, spki(sequence(tlv(2, b"\0", n[4:]), e)))
    yield "a negative modulus", request(good, spki(sequence(tlv(2, n[5:]), e)))
    yield "a number behind the exponent", request(good, spki(sequence(n, e, integer(1))))
    yield "no parameters", request(good, spki(good.public(), sequence(oid(RSA))))
    yield "parameters", request(good, spki(good.public(), sequence(oid(RSA), integer(1))))
    yield "a key for RSASSA-PSS", request(good, spki(good.public(), sequence(oid("1.2.840.113549.1.1.10"), NULL)))
    yield "a key of an unknown kind", request(good, spki(good.public(), sequence(oid("1.2.3.4"), NULL)))
    yield "bits unused in the key", request(good, spki(good.public(), unused=1))
    yield "another device's UID", request(good, subject=name((UID, "0" * 40)))
    own = hashlib.sha1(good.spki()).hexdigest()
    yield "another device's UID beside its own", request(good, subject=name((UID, own), (UID, "0" * 40)))
    yield "bytes behind the request", csr + b"\0"
    yield "a second request behind it", csr + csr
    yield "something behind the signature", request(good, after=NULL)
    yield "an indefinite length", b"\x30\x80" + csr[4:] + b"\0\0"
    yield "a length longer than needed", b"\x30\x83\0" + csr[2:]
    yield "a length of 2^63", b"\x30\x88\x80" + b"\0" * 7 + csr[4:]
    yield "a subject that is no name", request(good, subject=tlv(2, b"\1"))
    deep = b""
    while len(deep) < 9000:
        deep = sequence(deep)
    yield "nested without end", deep
    yield "a subject nested without end", request(good, subject=deep)
    yield "nothing", b""
    for kind, private in {
        "P-192": ec.SECP192R1(),
        "P-256": ec.SECP256R1(),
        "P-521": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }.items():
        yield kind, written(ec.generate_private_key(private))
    yield "Ed25519", written(ed25519.Ed25519PrivateKey.generate(), None)
    yield "Ed448", written(ed448.Ed448PrivateKey.generate(), None)
    # A point of order 8, and a signature that holds for it and any text (RFC 8032, section 5.1.7).
    small = sequence(sequence(oid("1.3.101.112")), bits(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")))
    yield "Ed25519 of small order", request(good, small, algorithm=sequence(oid("1.3.101.112")), signature=b"\1" + b"\0" * 63)


def armoured():
    csr = request(key())
    text = pem(csr)
    for label in ("CERTIFICATE", "RSA PRIVATE KEY", "PUBLIC KEY", "certificate request", "X", ""):
        yield f"the label {label!r}", pem(csr, label)
    yield "two labels", text.replace("END NEW", "END")
    yield "two blocks", text + pem(request(key()))
    yield "the same block twice", text + text
    yield "no end", text[: text.rindex("-----END")]
    yield "no beginning", text[text.index("\n") + 1 :]
    yield "no PEM", base64.b64encode(csr).decode()
    yield "a character that is not of base64", text.replace("\nMI", "\nM!I")
    yield "a byte of zero", text.replace("\nMI", "\nM\0I")
    yield "text before it", "text\n" + text
    yield "a header", text.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)
    yield "base64 and more behind its end", text.replace("\n-----END", "====\nAAAA\n-----END")


def harmless():
    more = {
        "CA:TRUE": [(x509.BasicConstraints(True, 5), True)],
        "keyCertSign": [(x509.KeyUsage(True, False, False, False, False, True, True, False, False), True)],
        "a name": [(x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.DNSName("*.example.test")]), False)],
        "an address": [(x509.SubjectAlternativeName([x509.RFC822Name("eve@example.test")]), True)],
        "a URI": [(x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://localhost/")]), False)],
        "serverAuth": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING]), True)],
        "an unknown critical extension": [(x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\5\0"), True)],
        "OCSP no check": [(x509.OCSPNoCheck(), False)],
        "name constraints": [(x509.NameConstraints([x509.DNSName("example.test")], None), True)],
        "somebody's responder": [
            (
                x509.AuthorityInformationAccess(
                    [x509.AccessDescription(ObjectIdentifier("1.3.6.1.5.5.7.48.1"), x509.UniformResourceIdentifier("http://192.0.2.1/"))]
                ),
                False,
            )
        ],
        "a key id": [(x509.SubjectKeyIdentifier(b"\0" * 20), False)],
        "a policy": [(x509.CertificatePolicies([x509.PolicyInformation(ObjectIdentifier("2.5.29.32.0"), None)]), True)],
    }
    for what, extensions in more.items():
        yield what, written(openssl(), extensions=extensions)
    for what, subject in {
        "another person's name": [(NameOID.COMMON_NAME, "admin")],
        "a host's name": [(NameOID.COMMON_NAME, "localhost")],
        "the authority's name": [(NameOID.COMMON_NAME, "Jami organisation CA"), (NameOID.ORGANIZATION_NAME, "Cams")],
        "a UID that is no device's": [(NameOID.USER_ID, "admin")],
        "a name of many parts": [(NameOID.COMMON_NAME, f"n{number}") for number in range(100)],
        "syntax in its name": [(NameOID.COMMON_NAME, "x,CN=admin/UID=0\n+\"\\\0")],
    }.items():
        yield what, written(openssl(), subject=subject)
    yield "no name at all", request(key(), subject=sequence())
    yield "an attribute nobody knows", request(key(), attributes=tlv(0xA0, sequence(oid("1.2.3.4"), tlv(0x31, NULL))))
    yield "an attribute that is none", request(key(), attributes=tlv(0xA0, b"\5\0"))
    yield "a password", request(key(), attributes=tlv(0xA0, sequence(oid("1.2.840.113549.1.9.7"), tlv(0x31, tlv(12, b"password")))))
    yield "three primes", request(key(2049, 3))
    yield "8192 bits", request(key(8192, 16))


def main():
    made = {
        "refused": [[what, pem(der)] for what, der in refused()] + [list(pair) for pair in armoured()],
        "harmless": [[what, pem(der)] for what, der in harmless()],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(made, indent=1) + "\n")
    print({kind: len(requests) for kind, requests in made.items()}, file=sys.stderr)


main()
