"""Asks about a certificate, and judges the answer, with the library cryptography: `ask ISSUER CERTIFICATE REQUEST` writes a
request, `judge ISSUER CERTIFICATE ANSWER` prints what a good answer says."""

import hashlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp

NONCE = bytes(range(32))

what, issuer, certificate, file = sys.argv[1:]
issuer, certificate = (x509.load_pem_x509_certificate(open(name, "rb").read()) for name in (issuer, certificate))

if what == "ask":
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256())
    builder = builder.add_extension(x509.OCSPNonce(NONCE), critical=False)
    open(file, "wb").write(builder.build().public_bytes(Encoding.DER))
else:
    answer = ocsp.load_der_ocsp_response(open(file, "rb").read())
    assert answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    issuer.public_key().verify(
        answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), answer.signature_hash_algorithm
    )
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1)
    assert answer.responder_key_hash == hashlib.sha1(key).digest()
    assert answer.serial_number == certificate.serial_number
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE
    assert answer.this_update_utc <= answer.produced_at_utc < answer.next_update_utc
    reason = answer.revocation_reason.name if answer.revocation_reason else ""
    print(answer.certificate_status.name, reason, answer.signature_hash_algorithm.name)
