# Sourced: what this release has.

known() { # a package of exactly this name: one that is not there is a pattern to apt-cache
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | grep -A 2 -x -F "$1:" | grep -q 'Candidate: [^(]'
}
