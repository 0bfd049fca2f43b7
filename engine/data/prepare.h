// From text to a dataset folder. Streaming: whatever the size of the text, memory stays below 1 GiB on up to 64 threads
// (about 40 MiB, 8 MiB a thread, and 4 bytes for each sentence of the two shards being written). The bytes of the
// result are the same at any number of threads. Tested by tests/data/prepare_test.cpp.
//
// What counts as what:
//   - Inputs are files, taken whatever their name, and folders, walked for *.txt in the order of their paths; links to
//     folders inside a folder are not followed, and links to nothing are passed over. A file named twice is read once.
//   - A blank line ends a document. The end of a file ends a document too (in the original recipe the next file
//     continues it, so that a result depends on the order of files and on final blank lines).
//   - Format `lines`: a sentence a line. `paragraphs`: a paragraph a line, split into sentences by rules
//     (engine/text/sentences.h). `automatic` decides for each file from its first 256 KiB: paragraphs where the rules
//     find at least 1.5 times as many sentences as non-blank lines.
//   - A line, or sentence, without tokens is dropped and ends nothing. A document without sentences does not exist.
//   - A UTF-8 byte order mark at the start of a file is dropped, CR before LF too. Invalid UTF-8 is treated as the
//     tokenizer does, and counted. NUL bytes in a file's first 64 KiB mean that it is not text: an error; later ones
//     are dropped as the tokenizer does, and counted.
//   - A line of more than 4 MiB is cut at white space; a document longer than a shard is cut there. Both are counted.
//   - A document is held out when its draw (seed, number of the document) falls below the fraction. Where that leaves
//     a split empty and there are at least two documents, the one with the smallest draw is held out, or the one with
//     the largest draw stays; the text is then read a second time. A single document stays in training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/data/dataset.h"

namespace cloze {

enum class TextFormat { automatic, lines, paragraphs };

TextFormat parse_text_format(const std::string& name);  // "auto", "lines", "paragraphs"; Fault::usage otherwise
const char* name_of(TextFormat format);

struct PrepareProgress {
    std::int64_t bytes_done = 0;
    std::int64_t bytes_total = 0;
    std::int64_t documents = 0;
    std::int64_t tokens = 0;
};

struct PrepareSettings {
    std::vector<std::filesystem::path> inputs;
    std::filesystem::path output;
    TokenizerOptions tokenizer = {};
    TextFormat format = TextFormat::automatic;
    double held_out_fraction = 0.05;  // of the documents; 0: no held-out split; at most 0.5
    std::uint64_t seed = 12345;       // of the held-out choice
    std::int64_t shard_tokens = std::int64_t{1} << 28;
    int threads = 1;
    bool overwrite = false;  // replace a dataset that lies at `output`; anything else there is never touched
    std::function<void(const PrepareProgress&)> progress = {};  // called on the caller's thread, every few MiB
    std::function<bool()> cancelled = {};                       // polled throughout; true ends with Fault::interrupted
};

/// Writes the dataset folder, completely or not at all, and returns what dataset.json says. First clears what a killed
/// run left of that folder, or puts the dataset back that it was replacing. Throws Fault::usage,
/// Fault::input or Fault::io: one line that names the file and the remedy.
DatasetInfo prepare_dataset(const Vocabulary& vocabulary, const PrepareSettings& settings);

/// What a user should know about a result: one line each, empty when there is nothing (invalid UTF-8, cut lines, no
/// held-out split, a high share of [UNK], ...).
std::vector<std::string> prepare_warnings(const DatasetInfo& info);

}  // namespace cloze
