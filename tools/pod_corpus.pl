#!/usr/bin/perl
# English text that is already on the machine: the documentation of its Perl, read in place, and perl-doc where installed.
#
#     perl tools/pod_corpus.pl [FOLDER...] > corpus.txt
#
# Keeps prose: paragraphs and list entries that read like sentences. Drops headings, code blocks, and what was seen before
# (documents in two places, licence notices), so that held-out text is not in the training text too. Writes one paragraph
# a line and a blank line between documents; reports sources, licence, counts and a hash on standard error. FOLDERs
# replace Perl's own. Same files in, same bytes out. About 16 s.
# Tested by tests/project/pod_corpus_test.sh.
use strict;
use warnings;
use Config;
use Cwd qw(realpath);
use Digest::SHA;
use Encode qw(encode_utf8);
use File::Find;

# A parser that keeps the text of prose elements and forgets everything else.
package ProseParser;
use parent 'Pod::Simple';

my %is_prose = map { $_ => 1 } qw(Para item-bullet item-number item-text);

sub new {
    my $self = shift->SUPER::new(@_);
    $self->{paragraphs} = [];
    $self->nbsp_for_S(0);
    $self->no_errata_section(1);
    $self->no_whining(1);
    return $self;
}

sub _handle_element_start {
    my ($self, $element) = @_;
    $self->{text} = '' if $is_prose{$element};
    $self->{hidden}++ if $element eq 'X';    # index entries are not shown
}

sub _handle_text {
    my ($self, $text) = @_;
    $self->{text} .= $text if defined $self->{text} && !$self->{hidden};
}

sub _handle_element_end {
    my ($self, $element) = @_;
    $self->{hidden}-- if $element eq 'X';
    return unless $is_prose{$element};
    push @{$self->{paragraphs}}, delete $self->{text};
}

package main;

# Perl's table of contents repeats the headings of all other documents.
my %is_skipped = ('perltoc.pod' => 1);

# Sentences, not a name, a call or a table: some words, mostly letters, a full stop at the end.
sub is_sentences {
    my ($text) = @_;
    my @words = split ' ', $text;
    my $letters = () = $text =~ /\p{Alpha}/g;
    my $shown   = () = $text =~ /\S/g;
    return @words >= 4 && $letters >= 0.75 * $shown && $text =~ /[.!?:][)"']?$/;
}

sub prose_of {
    my ($file) = @_;
    my $parser = ProseParser->new;
    $parser->parse_file($file);
    my @prose;
    for my $text (@{$parser->{paragraphs}}) {
        $text =~ s/[\s\x{AD}]+/ /g;
        $text =~ s/^ | $//g;
        push @prose, $text if is_sentences($text);
    }
    return @prose;
}

sub pod_files {
    my (@folders) = @_;
    my %seen;
    my $take = sub { $seen{$_} = 1 if -f && /\.(pod|pm)$/ && !$is_skipped{(split m{/})[-1]} };
    find({wanted => $take, no_chdir => 1}, map { realpath($_) } grep { -d } @folders);
    return sort keys %seen;
}

sub fail {
    my ($code, $message) = @_;
    print STDERR "pod_corpus.pl: $message\n";
    exit $code;
}

my $own_folders = !@ARGV;
my @folders = $own_folders ? ($Config{privlibexp}, $Config{archlibexp}) : @ARGV;
my ($documents, $duplicates, $words) = (0, 0, 0);
my %seen;
my $sha = Digest::SHA->new(256);

for my $file (pod_files(@folders)) {
    my @prose = prose_of($file) or next;
    my @new = grep { !$seen{$_}++ } @prose;
    if (!@new) {
        $duplicates++;
        next;
    }
    my $document = encode_utf8(join("\n", @new) . "\n");
    $document = "\n$document" if $documents++;
    $words += () = $document =~ /\S+/g;
    $sha->add($document);
    print $document or fail(4, "cannot write: $!");
}
close STDOUT or fail(4, "cannot write: $!");
fail(3, "no documentation in @folders; install it (apt-get install perl perl-doc)") unless $documents;

my $licence = $own_folders ? 'that of Perl: GNU GPL 1 or later, or the Artistic License' : 'that of your files';
my $hash = $sha->hexdigest;
print STDERR <<"END";
sources:    POD of Perl $Config{version} in @folders
licence:    $licence
documents:  $documents, after dropping $duplicates duplicates
words:      $words
sha256:     $hash
END
