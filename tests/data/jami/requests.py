#!/usr/bin/env python3
"""Makes the requests beside it: each is signed by its own key, so that nothing but what its name says is wrong with it.

Plain arithmetic for keys that no sound program makes; openssl for the others, and it verifies all but the even one.
"""
import base64
import hashlib
import math
import os
import secrets
import subprocess

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "requests")
PRIMES = [n for n in range(2, 702) if all(n % d for d in range(2, n))]


def is_prime(n):
    if any(n % p == 0 for p in PRIMES):
        return False
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(24):
        x = pow(secrets.randbelow(n - 3) + 2, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def prime(bits, e):
    """With its two highest bits set."""
    while True:
        n = secrets.randbits(bits) | 3 << bits - 2 | 1
        if math.gcd(n - 1, e) == 1 and is_prime(n):
            return n


def roca_prime(bits):
    product = math.prod(PRIMES)
    while True:
        n = secrets.randbits(bits) | 3 << bits - 2
        n = n - n % product + pow(65537, secrets.randbelow(product), product)
        if n.bit_length() == bits and is_prime(n):
            return n


def der(tag, *parts):
    content = b"".join(parts)
    octets = len(content).to_bytes((len(content).bit_length() + 7) // 8 or 1, "big")
    length = octets if len(content) < 128 else bytes([0x80 | len(octets)]) + octets
    return bytes([tag]) + length + content


def integer(n):
    return der(2, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def algorithm(number):
    return der(0x30, der(6, bytes.fromhex("2a864886f70d0101") + bytes([number])), der(5))


def write(name, p, q, e=65537, hash_name="sha256", number=11, digest_oid="608648016503040201"):
    n, d = p * q, pow(e, -1, math.lcm(p - 1, q - 1))
    key = der(0x30, integer(n), integer(e))
    spki = der(0x30, algorithm(1), der(3, b"\0", key))
    subject = der(0x30, der(0x31, der(0x30, der(6, b"\x55\x04\x03"), der(12, b"Jami device"))))
    info = der(0x30, integer(0), subject, spki, der(0xA0))
    digest = hashlib.new(hash_name, info).digest()
    digest_info = der(0x30, der(0x30, der(6, bytes.fromhex(digest_oid)), der(5)), der(4, digest))
    size = (n.bit_length() + 7) // 8
    padded = b"\0\1" + b"\xff" * (size - 3 - len(digest_info)) + b"\0" + digest_info
    signature = pow(int.from_bytes(padded, "big"), d, n).to_bytes(size, "big")
    request = base64.encodebytes(der(0x30, info, algorithm(number), der(3, b"\0", signature))).decode()
    with open(os.path.join(FOLDER, name + ".pem"), "w") as file:
        file.write(f"-----BEGIN CERTIFICATE REQUEST-----\n{request}-----END CERTIFICATE REQUEST-----\n")


def openssl(name, *options):
    command = ["openssl", "req", "-new", "-nodes", "-keyout", "/dev/null", "-out", os.path.join(FOLDER, name + ".pem")]
    subprocess.run([*command, *options], check=True, stderr=subprocess.DEVNULL)


write("sound", prime(1024, 65537), prime(1024, 65537))
write("small-factor", 751, prime(2045, 65537))
write("even", 2, prime(2047, 65537))
write("roca", roca_prime(1024), roca_prime(1024))
write("exponent-1", prime(1024, 1), prime(1024, 1), e=1)
write("exponent-3", prime(1024, 3), prime(1024, 3), e=3)
write("exponent-257", prime(1024, 257), prime(1024, 257), e=257)
write("exponent-65535", prime(1024, 65535), prime(1024, 65535), e=65535)
write("exponent-too-large", prime(1024, 2**32 + 15), prime(1024, 2**32 + 15), e=2**32 + 15)
write("sha1", prime(1024, 65537), prime(1024, 65537), hash_name="sha1", number=5, digest_oid="2b0e03021a")
write("md5", prime(1024, 65537), prime(1024, 65537), hash_name="md5", number=4, digest_oid="2a864886f70d0205")
name = ["-subj", "/CN=Jami device"]
openssl("1024-bits", "-newkey", "rsa:1024", *name)
openssl("p256", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *name)
openssl("ed25519", "-newkey", "ed25519", *name)
openssl("pss-key", "-newkey", "rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048", *name)
openssl("pss-signature", "-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss", *name)
openssl("foreign-uid", "-newkey", "rsa:2048", "-subj", "/CN=Jami device/UID=" + "0123456789" * 4)
openssl("sha384", "-newkey", "rsa:2048", "-sha384", *name)
openssl("sha512", "-newkey", "rsa:3072", "-sha512", *name)
openssl(
    "asks-for-more", "-newkey", "rsa:2048", "-subj", "/CN=admin/UID=admin/O=Somebody else",
    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    "-addext", "subjectAltName=DNS:*.example.org,IP:127.0.0.1,email:root@example.org,URI:https://example.org",
    "-addext", "extendedKeyUsage=serverAuth,OCSPSigning", "-addext", "nameConstraints=permitted;DNS:example.org",
    "-addext", "crlDistributionPoints=URI:http://evil.test/crl", "-addext", "1.2.3.4=critical,ASN1:NULL",
)
