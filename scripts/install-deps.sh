#!/usr/bin/env bash
# Installs what building (`build`) or testing (`test`) Cams lacks on this machine, and nothing that is there already.
# Debian and Ubuntu: from their packages, through sudo where not root. Elsewhere: says which commands are missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    printf 'install-deps: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "needs root for: $* (sudo is not installed)"
    fi
}

# needs COMMAND PACKAGE: notes the command, and the package that brings it, when the command is missing.
commands=() packages=()
needs() {
    if ! command -v "$1" >/dev/null; then
        commands+=("$1")
        packages+=("$2")
    fi
}

apt_install() {
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 -y)
    printf 'install-deps: installing %s\n' "$*"
    # The lists of a fresh machine are empty or old: only then is the second try worth its update.
    if ! as_root "${apt[@]}" install --no-install-recommends "$@" </dev/null; then
        as_root "${apt[@]}" update </dev/null
        as_root "${apt[@]}" install --no-install-recommends "$@" </dev/null
    fi
}

# Some packages start a server when they are installed. Debian asks this file first (see invoke-rc.d).
without_services() {
    local policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then
        "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"
    # In a subshell, so that the file goes whatever happens.
    (
        trap 'as_root rm -f "$policy"' EXIT
        "$@"
    )
}

install_missing() {
    if [ ${#packages[@]} -gt 0 ]; then
        command -v apt-get >/dev/null || fail "please install these commands first: ${commands[*]}"
        without_services apt_install "${packages[@]}"
    fi
}

build() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs and try again"
    needs gcc gcc
    needs make make
    needs cmake cmake
}

# needs_server COMMAND PACKAGE: as needs, also where only root's path leads.
needs_server() {
    [ -x "/usr/sbin/$1" ] || needs "$1" "$2"
}

# Chromium renders text only where there is a font.
needs_font() {
    if [ -z "$(find /usr/share/fonts -name '*.ttf' -print -quit 2>/dev/null)" ]; then
        commands+=("a font such as DejaVu")
        packages+=(fonts-dejavu-core)
    fi
}

# Debian keeps the server's programs out of PATH. The tests start servers of their own; the one that the package may start
# is left alone.
needs_postgresql() {
    if [ -z "$(find /usr/lib/postgresql -path '*/bin/initdb' -print -quit 2>/dev/null)" ]; then
        needs initdb postgresql
    fi
}

# A domain controller, of which Debian makes many packages.
needs_samba() {
    needs_server samba samba
    needs samba-tool samba
    needs ldbmodify ldb-tools
    local found
    for found in samba-dsdb-modules samba-ad-provision samba-vfs-modules; do
        if command -v dpkg-query >/dev/null && ! dpkg-query -W -f '${Status}' "$found" 2>/dev/null | grep -q ' installed$'; then
            commands+=("the Samba package $found")
            packages+=("$found")
        fi
    done
}

# The Jami client without its windows. Its driver runs in the system's Python, which need not be the first in PATH.
needs_jami() {
    if [ ! -x /usr/libexec/jamid ] && [ ! -x /usr/lib/jami/jamid ] && [ ! -x /usr/lib/ring/jamid ]; then
        needs jamid jami-daemon
    fi
    needs dhtnode dhtnode
    needs dbus-daemon dbus
    if ! /usr/bin/python3 -c 'import dbus' 2>/dev/null; then
        commands+=("D-Bus for Python")
        packages+=(python3-dbus)
    fi
}

# axe-core, which the browser tests run inside the pages to find what keeps people out.
axe() {
    local version=4.14.1 dir=${CARGO_TARGET_DIR:-$root/target}/test-tools
    local sum=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
    if [ ! -f "$dir/axe.min.js" ] || [ "$(cat "$dir/axe.version" 2>/dev/null)" != "$version" ]; then
        mkdir -p "$dir"
        printf 'install-deps: fetching axe-core %s\n' "$version"
        (
            cd "$dir"
            npm pack --silent --ignore-scripts "axe-core@$version" </dev/null >/dev/null
            printf '%s  %s\n' "$sum" "axe-core-$version.tgz" | sha512sum --check --quiet
            tar -xzf "axe-core-$version.tgz" --strip-components=1 package/axe.min.js
            rm "axe-core-$version.tgz"
            printf '%s' "$version" >axe.version
        )
    fi
}

# PyJWT, with which the tests verify assertions as a site would.
jose() {
    local version=2.15.1 dir=${CARGO_TARGET_DIR:-$root/target}/test-tools
    if ! "$dir/jose/bin/python" -c 'import cryptography, jwt' 2>/dev/null; then
        mkdir -p "$dir"
        printf 'install-deps: fetching PyJWT %s\n' "$version"
        python3 -m venv "$dir/jose"
        "$dir/jose/bin/pip" install --quiet --disable-pip-version-check "PyJWT[crypto]==$version" </dev/null
    fi
}

# pkilint, which reads our certificates with the eyes of RFC 5280.
pkilint() {
    local version=0.13.3 dir=${CARGO_TARGET_DIR:-$root/target}/test-tools
    if [ ! -x "$dir/pkilint/bin/lint_pkix_cert" ]; then
        mkdir -p "$dir"
        printf 'install-deps: fetching pkilint %s\n' "$version"
        python3 -m venv "$dir/pkilint"
        "$dir/pkilint/bin/pip" install --quiet --disable-pip-version-check "pkilint==$version" </dev/null
    fi
}

case "${1:-}" in
build)
    build
    install_missing
    ;;
test)
    build
    needs curl curl
    needs openssl openssl
    needs certutil libnss3-tools
    needs python3 python3
    needs_server nginx nginx-light
    needs_server apache2 apache2-bin
    needs chromium chromium
    needs chromedriver chromium-driver
    needs_font
    needs oathtool oathtool
    needs_postgresql
    needs_samba
    needs_server slapd slapd
    needs ldapmodify ldap-utils
    needs_server mariadbd mariadb-server
    needs mariadb mariadb-client
    needs_jami
    needs npm npm
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        commands+=("python3 with venv")
        packages+=(python3-venv)
    fi
    install_missing
    axe
    jose
    pkilint
    ;;
*)
    printf 'usage: %s build|test\n' "$0" >&2
    exit 2
    ;;
esac
