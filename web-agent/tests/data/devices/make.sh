#!/bin/sh -e
# Makes the certificates in this folder, which are good for a hundred years; their keys are thrown away.
cd "$(dirname "$0")"
keys=$(mktemp -d)
trap 'rm -r "$keys"' EXIT
printf '[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n[leaf]\nbasicConstraints=critical,CA:FALSE\n' >"$keys/extensions"

key() { openssl genrsa -out "$keys/$1.key" "$2" && openssl req -new -key "$keys/$1.key" -subj "/CN=$1" -out "$keys/$1.csr"; }

# sign NAME REQUEST ISSUER ISSUERKEY DIGEST [EXTENSIONS]
sign() {
    openssl x509 -req -in "$keys/$2.csr" -CA "$3.pem" -CAkey "$keys/$4.key" -set_serial "0x1$(openssl rand -hex 8)" \
        -days 36500 "-$5" ${6:+-extfile "$keys/extensions" -extensions "$6"} -out "$1.pem"
}

key ca 2048
key account 2048
key device 2048
key small 1024
openssl x509 -req -in "$keys/ca.csr" -signkey "$keys/ca.key" -days 36500 -sha512 \
    -extfile "$keys/extensions" -extensions ca -out ca.pem
sign account account ca ca sha512 ca
sign good device account account sha512 leaf
sign sha1 device account account sha1 leaf
sign md5 device account account md5 leaf
sign small-account small ca ca sha512 ca
sign of-small-account device small-account small sha256 leaf
sign v1 device account account sha512
sign v1-account account ca ca sha512
sign of-v1-account device v1-account account sha512 leaf
