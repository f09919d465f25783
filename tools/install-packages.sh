#!/bin/sh
# Install Debian packages as root: no question asked, no daemon started, no file left behind.
# `a|b` means the first of them that this release has.
set -u
. "$(dirname "$0")/apt.sh"

policy=/usr/sbin/policy-rc.d
made_policy=
said=$(mktemp) || exit 1 # what apt-get complains of: a page of it, for one reason

forbid_daemons() {
    [ -e "$policy" ] && return
    (set -C; printf '#!/bin/sh\nexit 101\n' >"$policy") 2>/dev/null || return
    made_policy=yes
    chmod 755 "$policy"
}

clean_up() {
    [ -z "$made_policy" ] || rm -f "$policy"
    rm -f "$said"
}

complain() { # $1, and the first reason given
    echo "setup: $1: $(grep '^E:\|^W: Failed\|^dpkg:' "$said" | head -n 1)" >&2
}

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C
# Old lists may do, and to apt-get itself a list it could not fetch is no failure.
apt-get -qq update </dev/null >/dev/null 2>"$said"
! grep -q '^E:\|^W: Failed' "$said" || complain "the package lists could not be refreshed"

# No package name has a blank in it: a plain list of words will do.
chosen=
for wanted in "$@"; do
    found=
    for name in $(echo "$wanted" | tr '|' ' '); do
        if known "$name"; then found=$name; break; fi
    done
    if [ -z "$found" ]; then
        echo "setup: this system has no package $wanted" >&2
        continue
    fi
    chosen="$chosen $found"
done
[ -n "$chosen" ] || exit 1

echo "setup: installing$chosen"
forbid_daemons
# shellcheck disable=SC2086
apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 install $chosen \
    </dev/null >/dev/null 2>"$said" && exit
complain "apt-get could not install them"
exit 1
