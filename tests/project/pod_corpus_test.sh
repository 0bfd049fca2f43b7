#!/usr/bin/env bash
# tools/pod_corpus.pl on documents made here: what it keeps, what it drops, what it reports.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if ! perl -MPod::Simple -e 1 2>/dev/null; then
    echo "[skipped] needs Pod::Simple (install perl)"
    exit 0
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/pod/sub" "$folder/empty"

cat >"$folder/pod/a.pod" <<'END'
=encoding utf8

=head1 NAME

a - a name is no prose

=head1 DESCRIPTION

The first paragraph has B<bold> words,
a C<call()>, an E<eacute> and a dash — all kept.X<index entry>

    print "code blocks are dropped, even when they read like this one.";

=over

=item *

A list entry that is a sentence stays too.

=item short_name

=back

=begin html

<p>What is meant for another format is dropped as well.</p>

=end html

=cut
END
cp "$folder/pod/a.pod" "$folder/pod/sub/copy_of_a.pod"
cp "$folder/pod/a.pod" "$folder/pod/perltoc.pod"
cat >"$folder/pod/sub/b.pm" <<'END'
package b;
sub f { "Strings in code are not documentation at all." }

=pod

A second document, which stands inside of a module.

A list entry that is a sentence stays too.

=cut

1;
END
echo "no documentation here, and plain text is not read at all." >"$folder/pod/notes.txt"

cat >"$folder/expected" <<'END'
The first paragraph has bold words, a call(), an é and a dash — all kept.
A list entry that is a sentence stays too.

A second document, which stands inside of a module.
END

corpus() { perl "$here/../../tools/pod_corpus.pl" "$@"; }

corpus "$folder/pod" >"$folder/actual" 2>"$folder/report"
diff -u "$folder/expected" "$folder/actual"
grep -q '^documents:  2, after dropping 1 duplicates$' "$folder/report"
grep -q "^words:      $(awk '{ words += NF } END { print words }' "$folder/expected")\$" "$folder/report"
grep -q "^sha256:     $(sha256sum <"$folder/expected" | cut -d' ' -f1)\$" "$folder/report"
corpus "$folder/pod" 2>/dev/null | cmp - "$folder/actual"

code=0
corpus "$folder/empty" >/dev/null 2>"$folder/report" || code=$?
[ "$code" = 3 ]
grep -q "no documentation in $folder/empty; install it" "$folder/report"
echo "pod_corpus.pl: every case as expected"
