#!/usr/bin/env bash
# tools/packages.sh on machines that this one is not: stand-ins for dpkg-query, apt-get, id and sudo play them.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

stand_in() { # NAME, body on standard input
    { echo '#!/usr/bin/env bash' && cat; } >"$folder/$1"
    chmod +x "$folder/$1"
}

stand_in dpkg-query <<'END'
[[ " ${MISSING:-} " == *" ${*: -1} "* ]] && exit 1
printf installed
END
stand_in apt-get <<'END'
[[ " $* " == *" --print-uris "* ]] && { echo "Need to get 7 MB of archives."; exit 0; }
echo "ran apt-get $*"
[[ " $* " != *" ${BROKEN:-nothing} "* ]]
END
stand_in id <<'END'
echo "${FAKE_UID:-1000}"
END
stand_in sudo <<'END'
exit 1
END

failures=0
# expect EXIT_CODE PATTERN GROUP...: runs packages.sh on the machine that the variables describe.
expect() {
    local code=0 output wanted=$1 pattern=$2
    shift 2
    output=$(PATH="$folder:$PATH" bash "$here/../../tools/packages.sh" "$@" 2>&1) || code=$?
    if [ "$code" != "$wanted" ] || ! grep -q -- "$pattern" <<<"$output"; then
        printf 'packages.sh %s: expected exit code %s and "%s", got %s and:\n%s\n' \
            "$*" "$wanted" "$pattern" "$code" "$output"
        failures=$((failures + 1))
    fi
}

expect 0 '^$' corpus
expect 2 'name a group'
expect 0 '^g++ .*| build' --list
MISSING="perl-doc" expect 0 'Need to get 7 MB' corpus
MISSING="perl-doc" expect 0 'to install them: sudo apt-get install --yes --no-install-recommends perl-doc' corpus
MISSING="perl-doc" expect 0 'going on without: perl-doc' corpus
MISSING="perl perl-doc" expect 69 'cannot go on without: perl$' corpus
MISSING="perl perl-doc" FAKE_UID=0 expect 0 'ran apt-get update' corpus
MISSING="perl perl-doc" FAKE_UID=0 expect 0 'ran apt-get install .* perl perl-doc' corpus
MISSING="perl perl-doc" FAKE_UID=0 BROKEN=perl-doc expect 0 'going on without: perl-doc' corpus
MISSING="perl perl-doc" FAKE_UID=0 BROKEN=perl expect 69 'cannot go on without: perl$' corpus
MISSING="perl-doc" FAKE_UID=0 BROKEN=update expect 0 'update failed' corpus

[ $failures = 0 ] && echo "packages.sh: every case as expected"
