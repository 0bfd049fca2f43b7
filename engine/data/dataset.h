// A dataset folder: what `cloze prepare` leaves. dataset.json (manifest), vocab.txt, and shards of two splits. The
// format is in docs/formats.md. Tested by tests/data/prepare_test.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/data/token_store.h"
#include "engine/files/json.h"
#include "engine/text/tokenizer.h"

namespace cloze {

inline constexpr const char* kDatasetManifest = "dataset.json";
inline constexpr std::int64_t kDatasetVersion = 1;

enum class Split { train = 0, held_out = 1 };
const char* name_of(Split split);  // "train", "heldout"

struct SplitCounts {
    std::int64_t documents = 0;
    std::int64_t sentences = 0;
    std::int64_t tokens = 0;
    std::vector<std::string> shards;  // file names, in order
};

/// What preparing saw of the text.
struct TextCounts {
    std::int64_t files = 0;
    std::int64_t bytes = 0;
    std::int64_t files_as_lines = 0;       // read as a sentence a line
    std::int64_t files_as_paragraphs = 0;  // read as a paragraph a line
    std::int64_t skipped_files = 0;        // in folders, not .txt, or links to nowhere or to folders
    std::int64_t empty_files = 0;
    std::int64_t repeated_files = 0;  // named twice; read once
    std::int64_t lines_without_tokens = 0;
    std::int64_t invalid_utf8 = 0;    // sequences replaced
    std::int64_t nul_bytes = 0;       // dropped
    std::int64_t cut_lines = 0;       // longer than 4 MiB
    std::int64_t cut_documents = 0;   // longer than a shard
    std::int64_t unknown_tokens = 0;  // ids of [UNK]
};

struct DatasetInfo {
    std::int64_t vocabulary_size = 0;
    std::uint64_t vocabulary_hash = 0;
    std::string tokenizer_mode_name;  // with the Unicode version it is frozen to
    TokenizerOptions tokenizer;
    std::array<SplitCounts, 2> splits;  // by Split
    TextCounts text;
    std::vector<std::string> inputs;  // as the user named them
    std::string format;               // auto, lines or paragraphs
    double held_out_fraction = 0;
    std::uint64_t held_out_seed = 0;

    const SplitCounts& split(Split which) const { return splits[static_cast<std::size_t>(which)]; }
    SplitCounts& split(Split which) { return splits[static_cast<std::size_t>(which)]; }
};

Json dataset_json(const DatasetInfo& info);
DatasetInfo parse_dataset(const Json& json, const std::string& source);

/// Whether the folder holds a dataset's manifest, of any version, damaged or not.
bool is_dataset(const std::filesystem::path& folder);

class Dataset {
public:
    /// Reads the manifest and the vocabulary, maps every shard and checks what can be checked without reading the
    /// tokens. Throws Fault::input or Fault::io naming the file, with the remedy.
    static Dataset open(const std::filesystem::path& folder);

    const std::filesystem::path& folder() const { return folder_; }
    const DatasetInfo& info() const { return info_; }
    const Vocabulary& vocabulary() const { return vocabulary_; }

    bool has(Split split) const { return info_.split(split).documents > 0; }
    /// Throws Fault::input when the split has no documents, saying how to get some.
    std::shared_ptr<const TokenStore> tokens(Split split) const;

    /// Reads every byte of every shard; once, at the start of a run. Throws Fault::input naming what is damaged.
    void verify(int threads = 1) const;

private:
    Dataset(std::filesystem::path folder, DatasetInfo info, Vocabulary vocabulary);

    std::filesystem::path folder_;
    DatasetInfo info_;
    Vocabulary vocabulary_;
    std::array<std::vector<std::shared_ptr<const class Shard>>, 2> shards_;
};

}  // namespace cloze
