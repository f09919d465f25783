#!/bin/sh
# Prepare .venv: the Python, the system packages, the gateway built from this checkout.
#
#   tools/setup.sh          what `make run` and `make demo` need
#   tools/setup.sh --test   that, and what `make test` needs
#
#   PYTHON=...              this interpreter and no other
#   NO_INSTALL=1            print the system packages, install none
#
# Nothing is written outside .venv. Its stamp, .venv/ready, is written last: a .venv
# without one is half-made and is made again. sudo is used for system packages only.
set -u
cd "$(dirname "$0")/.." || exit 1
. tools/apt.sh
umask 022

oldest_minor=11
newest_minor=14
for_tests=
[ "${1:-}" = --test ] && for_tests=yes

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# ---------------------------------------------------------------- the interpreter

fact() { printf '%s\n' "$facts" | sed -n "s/^$1 //p"; }

try() { # start $1 and keep what it says of itself in $facts
    facts=$("$1" -E tools/probe.py 2>/dev/null) && [ -n "$(fact version)" ]
}

new_enough() {
    minor=$(fact minor)
    [ "${minor%%.*}" -eq 3 ] && [ "${minor#*.}" -ge "$oldest_minor" ]
}

candidates() {
    echo python3
    n=$newest_minor
    while [ "$n" -ge "$oldest_minor" ]; do echo "python3.$n"; n=$((n - 1)); done
    n=$newest_minor
    while [ "$n" -ge "$oldest_minor" ]; do echo "/usr/bin/python3.$n"; n=$((n - 1)); done
    for root in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"; do
        case $root in /*) ;; *) continue ;; esac
        for python in "$root"/versions/3.*/bin/python; do
            [ -x "$python" ] && printf '%s\n' "$python"
        done
    done
}

named_python() {
    path=$(command -v -- "$PYTHON") ||
        fail "PYTHON=$PYTHON: there is no such program."
    try "$path" ||
        fail "PYTHON=$PYTHON: $path does not start (a version manager's shim whose version is not active?); name one that does."
    new_enough ||
        fail "PYTHON=$PYTHON is Python $(fact version), which is too old: the gateway needs 3.$oldest_minor or newer."
    python=$(fact executable)
}

any_python() {
    seen=
    python=
    while IFS= read -r candidate; do
        command -v -- "$candidate" >/dev/null 2>&1 || continue
        if ! try "$candidate"; then
            seen="$seen, $candidate does not start"
        elif ! new_enough; then
            seen="$seen, $candidate is $(fact version)"
        else
            python=$(fact executable)
            return
        fi
    done <<LIST
$(candidates)
LIST
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        named_python
        return
    fi
    python=$(sed -n 's/^python //p' .venv/ready 2>/dev/null) # a choice made once is kept
    if [ -n "$python" ] && try "$python" && new_enough; then return; fi
    any_python
}

# ---------------------------------------------------------------- system packages

wanted_packages() {
    echo ca-certificates gcc libc6-dev libcap-dev
    case $python in
    '') ;;
    /usr/bin/*)
        if [ "$(readlink -f /usr/bin/python3)" = "$(readlink -f "$python")" ]; then
            echo python3-dev python3-venv
        else
            echo "python$(fact minor)-dev" "python$(fact minor)-venv"
        fi ;;
    esac
    echo iperf3 iproute2 iputils-ping
    [ -n "$for_tests" ] || return 0
    echo clang ethtool iptables nftables nmap procps redis-server tcpdump
    clang_runtime || echo 'libclang-rt-dev|libclang-rt-14-dev'
}

clang_runtime() { # the sanitizers' libraries; which package has them differs by release
    ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.tsan*.a >/dev/null 2>&1
}

installed() {
    for alternative in $(echo "$1" | tr '|' ' '); do
        case $(dpkg-query -W -f '${db:Status-Status}' "$alternative" 2>/dev/null) in
        installed) return 0 ;;
        esac
    done
    return 1
}

first_known() { # of each `a|b`, the one this release has
    for wanted in "$@"; do
        chosen=${wanted%%|*}
        for alternative in $(echo "$wanted" | tr '|' ' '); do
            known "$alternative" || continue
            chosen=$alternative
            break
        done
        echo "$chosen"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

install_packages() { # what cannot be had here is found out, and said, by check_tools
    if [ -n "${NO_INSTALL:-}" ]; then
        say "NO_INSTALL is set, so they are left to you: apt-get install $(first_known "$@" | xargs)"
        return
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
        say "there is no sudo here; as root: apt-get install $(first_known "$@" | xargs)"
        return
    fi
    as_root sh tools/install-packages.sh "$@"
    case $? in
    0) ;;
    130 | 143) exit 130 ;; # under sudo's own terminal Ctrl-C is heard there only
    *) say "not all of them could be installed" ;;
    esac
}

system_packages() {
    # shellcheck disable=SC2046
    set -- $(wanted_packages)
    if ! command -v apt-get >/dev/null 2>&1; then
        say "system packages, by their Debian names (no apt here, install what is missing): $*"
        return
    fi
    missing=
    for name in "$@"; do installed "$name" || missing="$missing $name"; done
    if [ -z "$missing" ]; then
        say "system packages, all there: $*"
        return
    fi
    say "system packages: $*"
    say "missing:$missing"
    # shellcheck disable=SC2086
    install_packages $missing
}

python_from_packages() { # nothing new enough is there: does this release have one?
    command -v apt-cache >/dev/null 2>&1 || return
    n=$newest_minor
    while [ "$n" -ge "$oldest_minor" ]; do
        if known "python3.$n"; then
            install_packages "python3.$n" "python3.$n-dev" "python3.$n-venv"
            return
        fi
        n=$((n - 1))
    done
}

includes() { # does this header compile?
    printf '#include <%s>\n' "$1" | cc -fsyntax-only -x c - >/dev/null 2>&1
}

check_tools() { # what was installed meanwhile changes what the interpreter says of itself
    try "$python" || fail "$python no longer starts."
    [ "$(fact ensurepip)" = yes ] ||
        fail "$python cannot make environments: install python3-venv (python$(fact minor)-venv), or name another with PYTHON=."
    [ "$(fact headers)" = yes ] ||
        fail "$python has no headers: install python3-dev (python$(fact minor)-dev), or name another with PYTHON=."
    [ "$(fact ssl)" = yes ] ||
        fail "$python was built without ssl, so pip cannot download: name another with PYTHON=."
    command -v cc >/dev/null 2>&1 || fail "there is no C compiler: install gcc."
    includes stdio.h || fail "the C compiler finds no stdio.h: install libc6-dev (glibc-devel)."
    includes sys/capability.h ||
        fail "the header sys/capability.h is missing: install libcap-dev (libcap-devel)."
}

# ---------------------------------------------------------------- .venv

pip() { # pip of .venv, for the environment named first; why it failed is kept in $said
    target=$1
    shift
    [ ! -d .venv/cache ] || [ -O .venv/cache ] || export PIP_NO_CACHE_DIR=1
    PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CACHE_DIR="${PIP_CACHE_DIR:-$PWD/.venv/cache}" \
        PIP_ROOT_USER_ACTION=ignore PYTHONWARNINGS=ignore \
        heard .venv/bin/python -m pip --quiet --python "$target/bin/python" "$@"
}

heard() {
    said=$("$@" </dev/null 2>&1)
}

pip_failed() { # a page about a network that is not there is one sentence
    case $said in
    *'Retry(total=0'*)
        reason=$(printf '%s\n' "$said" | sed -n "s/.*connection broken by '\(.*\)': .*/\1/p" |
            tail -n 1 | sed "s/.*\[Errno [-0-9]*\] //; s/[\"')]*$//")
        fail "pip cannot reach the package index ($reason): look at the network and its proxy, or name another index with PIP_INDEX_URL=." ;;
    esac
    printf '%s\n' "$said" >&2
    fail "$*"
}

environment_state() {
    { printf '%s\n' "$PWD" "$python" "$(fact version)"
      cat pyproject.toml requirements/lock.txt requirements/build.txt tools/setup.sh
    } | sha256sum | cut -d ' ' -f 1
}

source_files() {
    find gateway -type f ! -name '*.py[co]' ! -name '*.so' ! -name '*.c' | LC_ALL=C sort
}

source_state() {
    source_files | xargs sha256sum README.md LICENSE | sha256sum | cut -d ' ' -f 1
}

make_environment() {
    say "making .venv with Python $(fact version) ($python)"
    rm -rf .venv
    heard "$python" -m venv .venv || pip_failed "$python could not make .venv; its reason is above."
    heard "$python" -m venv --without-pip .venv/tools ||
        pip_failed "$python could not make .venv/tools; its reason is above."
    heard .venv/bin/python -m pip --quiet --disable-pip-version-check --no-cache-dir install \
        --constraint requirements/lock.txt --upgrade pip ||
        pip_failed "pip could not be brought up to date; its reason is above."
    pip .venv/tools install -r requirements/build.txt ||
        pip_failed "the build tools could not be installed; pip's reason is above."
}

copy_sources() { # compiled objects stay, so that only what changed is compiled again
    rm -rf .venv/src/gateway .venv/wheel
    find .venv/src -path '*/lib*' -type f ! -name '*.so' -delete 2>/dev/null
    mkdir -p .venv/src
    source_files | while IFS= read -r file; do
        mkdir -p ".venv/src/${file%/*}"
        cp -p "$file" ".venv/src/$file"
    done
    cp -p pyproject.toml README.md LICENSE .venv/src/
}

install_gateway() {
    say "building and installing the gateway"
    copy_sources
    pip .venv/tools wheel --no-build-isolation --no-deps --wheel-dir .venv/wheel .venv/src ||
        pip_failed "the gateway could not be built; the compiler's reason is above."
    pip .venv uninstall --yes tun-gateway
    wheel=$(cd .venv/wheel && echo *.whl)
    pip .venv install --constraint requirements/lock.txt ".venv/wheel/$wheel[all]" ||
        pip_failed "the gateway could not be installed; pip's reason is above."
}

prepare() {
    environment=$(environment_state)
    source=$(source_state)
    stamp=$(printf 'environment %s\nsource %s\npython %s' "$environment" "$source" "$python")
    if [ "$(cat .venv/ready 2>/dev/null)" != "$stamp" ]; then
        check_tools
        if grep -qx "environment $environment" .venv/ready 2>/dev/null; then
            rm -f .venv/ready
        else
            make_environment
        fi
        install_gateway
        printf '%s\n' "$stamp" >.venv/ready
    fi
    if [ -n "$for_tests" ] && [ ! -e .venv/tools/ready ]; then
        pip .venv/tools install -r requirements/tox.txt ||
            pip_failed "tox could not be installed; pip's reason is above."
        : >.venv/tools/ready
    fi
}

give_back() { # what root wrote into somebody's checkout becomes theirs
    owner=$(stat -c %u:%g .)
    case $(id -u)/$owner in
    0/0:*) ;;
    0/*) [ ! -d .venv ] || chown -hR "$owner" .venv ;;
    esac
}

exec 9<pyproject.toml
command -v flock >/dev/null 2>&1 && flock 9 # two makes at once take turns
trap give_back EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

find_python
system_packages
if [ -z "$python" ]; then
    python_from_packages
    find_python
    [ -n "$python" ] ||
        fail "no Python 3.$oldest_minor or newer was found${seen:+ (${seen#, })}: install one, or name it with PYTHON=."
fi
prepare
say "ready: .venv/bin/gateway, .venv/bin/gateway-ctl"
