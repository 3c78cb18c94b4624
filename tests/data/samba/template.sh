#!/usr/bin/env bash
# Prints the folder of a ready-made domain controller below the folder $1: the domain AD.EXAMPLE.TEST with the people of
# accounts.py. Made at the first call, in half a minute, and again when Samba or these files change. Nothing is started.
# As root: Samba keeps rights in attributes of files that others may not set.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
key=$({ samba --version && cat "$here/template.sh" "$here/accounts.py"; } | sha256sum | cut -c -16)
template=$cache/$key

# One chain: in the condition where this is called, the shell does not stop at a failure by itself.
provision() {
    local new=$template.new
    # Those of other versions of these files too.
    find "$cache" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} + &&
        samba-tool domain provision --realm=AD.EXAMPLE.TEST --domain=EXAMPLEAD --server-role=dc --dns-backend=NONE \
            --use-rfc2307 --adminpass='Adm1n-Passw0rd!' --host-name=dc1 --host-ip=127.0.0.1 --targetdir="$new" &&
        # Nobody is locked out but those whom accounts.py gives a policy of their own.
        samba-tool domain passwordsettings set -s "$new/etc/smb.conf" -H "$new/private/sam.ldb" --complexity=off \
            --min-pwd-length=4 --min-pwd-age=0 --max-pwd-age=0 --history-length=0 --account-lockout-threshold=0 &&
        # Samba's own Python, which another one may hide.
        /usr/bin/python3 "$here/accounts.py" "$new/etc/smb.conf" "$new/private/sam.ldb" &&
        mv "$new" "$template"
}

# Two that ask at the same time get one answer.
exec {lock}>"$cache/lock"
flock "$lock"
if [ ! -d "$template" ] && ! provision >"$cache/log" 2>&1; then
    cat "$cache/log" >&2
    exit 1
fi
printf '%s\n' "$template"
