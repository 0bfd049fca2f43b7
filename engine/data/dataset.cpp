#include "engine/data/dataset.h"

#include <algorithm>
#include <utility>

#include "engine/data/shard.h"
#include "engine/data/threads.h"
#include "engine/files/atomic_folder.h"
#include "kernels/core/error.h"

namespace cloze {

namespace {

constexpr Split kSplits[] = {Split::train, Split::held_out};

/// One list for writing and reading, so that neither forgets a counter.
template <typename Counts, typename Visit>
void for_each_count(Counts& counts, const Visit& visit) {
    visit("files", counts.files);
    visit("bytes", counts.bytes);
    visit("files_as_lines", counts.files_as_lines);
    visit("files_as_paragraphs", counts.files_as_paragraphs);
    visit("skipped_files", counts.skipped_files);
    visit("empty_files", counts.empty_files);
    visit("repeated_files", counts.repeated_files);
    visit("lines_without_tokens", counts.lines_without_tokens);
    visit("invalid_utf8", counts.invalid_utf8);
    visit("nul_bytes", counts.nul_bytes);
    visit("cut_lines", counts.cut_lines);
    visit("cut_documents", counts.cut_documents);
    visit("unknown_tokens", counts.unknown_tokens);
}

}  // namespace

const char* name_of(Split split) {
    return split == Split::train ? "train" : "heldout";
}

Json dataset_json(const DatasetInfo& info) {
    Json splits = Json::object();
    for (const Split which : kSplits) {
        const SplitCounts& split = info.split(which);
        splits[name_of(which)] = {{"documents", split.documents},
                                  {"sentences", split.sentences},
                                  {"tokens", split.tokens},
                                  {"shards", split.shards}};
    }
    Json text_counts = Json::object();
    for_each_count(info.text, [&](const char* name, std::int64_t count) { text_counts[name] = count; });
    text_counts["inputs"] = info.inputs;
    return {{"cloze_dataset", kDatasetVersion},
            {"vocabulary", {{"size", info.vocabulary_size}, {"xxh3", checksum_text(info.vocabulary_hash)}}},
            {"tokenizer",
             {{"mode", to_string(info.tokenizer.mode)},
              {"mode_name", info.tokenizer_mode_name},
              {"do_lower_case", info.tokenizer.lowercase},
              {"strip_accents", info.tokenizer.strip_accents ? Json(*info.tokenizer.strip_accents) : Json()},
              {"tokenize_chinese_chars", info.tokenizer.tokenize_chinese_chars}}},
            {"splits", splits},
            {"text", text_counts},
            {"settings",
             {{"format", info.format},
              {"held_out_fraction", info.held_out_fraction},
              {"held_out_seed", info.held_out_seed}}}};
}

DatasetInfo parse_dataset(const Json& json, const std::string& source) {
    const JsonObject object(json, source);
    const auto version = object.require<std::int64_t>("cloze_dataset");
    require_input(version == kDatasetVersion, source, ": dataset version ", version, ", this program reads version ",
                  kDatasetVersion, "; run cloze prepare again");
    DatasetInfo info;
    const JsonObject vocabulary = object.require_object("vocabulary");
    info.vocabulary_size = vocabulary.require_integer("size", 1, std::int64_t{1} << 31);
    const auto hash = parse_checksum(vocabulary.require<std::string>("xxh3"));
    if (!hash) vocabulary.refuse("xxh3", "expected 16 hexadecimal digits");
    info.vocabulary_hash = *hash;

    const JsonObject tokenizer = object.require_object("tokenizer");
    const auto mode = tokenizer.require<std::string>("mode");
    if (mode != "google" && mode != "hf") tokenizer.refuse("mode", "\"" + mode + "\" is neither google nor hf");
    info.tokenizer.mode = parse_tokenizer_mode(mode);
    info.tokenizer_mode_name = tokenizer.require<std::string>("mode_name");
    info.tokenizer.lowercase = tokenizer.require<bool>("do_lower_case");
    if (tokenizer.has("strip_accents") && !tokenizer.json()["strip_accents"].is_null()) {
        info.tokenizer.strip_accents = tokenizer.require<bool>("strip_accents");
    }
    info.tokenizer.tokenize_chinese_chars = tokenizer.require<bool>("tokenize_chinese_chars");

    const JsonObject splits = object.require_object("splits");
    for (const Split which : kSplits) {
        const JsonObject split = splits.require_object(name_of(which));
        SplitCounts& counts = info.split(which);
        counts.documents = split.require<std::int64_t>("documents");
        counts.sentences = split.require<std::int64_t>("sentences");
        counts.tokens = split.require<std::int64_t>("tokens");
        counts.shards = split.require<std::vector<std::string>>("shards");
    }
    const JsonObject text_counts = object.require_object("text");
    for_each_count(info.text,
                   [&](const char* name, std::int64_t& count) { count = text_counts.require<std::int64_t>(name); });
    info.inputs = text_counts.require<std::vector<std::string>>("inputs");
    const JsonObject settings = object.require_object("settings");
    info.format = settings.require<std::string>("format");
    info.held_out_fraction = settings.require<double>("held_out_fraction");
    info.held_out_seed = settings.require<std::uint64_t>("held_out_seed");
    return info;
}

bool is_dataset(const std::filesystem::path& folder) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(folder / kDatasetManifest, ignored);
}

Dataset::Dataset(std::filesystem::path folder, DatasetInfo info, Vocabulary vocabulary)
    : folder_(std::move(folder)), info_(std::move(info)), vocabulary_(std::move(vocabulary)) {}

Dataset Dataset::open(const std::filesystem::path& folder) {
    std::error_code ignored;  // what may not be looked at is told when it is read
    require_input(!std::filesystem::is_regular_file(folder, ignored), folder.string(),
                  ": is a file; name the folder that cloze prepare has made");
    const auto type = std::filesystem::status(folder / kDatasetManifest, ignored).type();
    require_input(type != std::filesystem::file_type::not_found, folder.string(), ": no ", kDatasetManifest,
                  " here; make the dataset with cloze prepare --output ", folder.string());
    const std::string source = (folder / kDatasetManifest).string();
    const Manifest manifest = read_manifest(folder, kDatasetManifest);
    Dataset dataset(folder, parse_dataset(manifest.content, source), Vocabulary::read(folder / "vocab.txt"));
    const DatasetInfo& info = dataset.info_;
    require_input(
        dataset.vocabulary_.hash() == info.vocabulary_hash && dataset.vocabulary_.size() == info.vocabulary_size,
        folder.string(), ": vocab.txt is not the vocabulary that the shards were made with; put it back or ",
        "run cloze prepare again");
    for (const Split which : kSplits) {
        for (const std::string& name : info.split(which).shards) {
            const auto record = std::ranges::find(manifest.files, name, &FileRecord::name);
            require_input(record != manifest.files.end(), source, ": shard ", name,
                          " is not among its files; run cloze prepare again");
            auto shard = Shard::open(folder / name, record->bytes);
            const ShardTable& table = shard->table();
            require_input(table.vocabulary_hash == info.vocabulary_hash &&
                              std::cmp_equal(table.vocabulary_size, info.vocabulary_size),
                          shard->source(), ": made with another vocabulary (", table.vocabulary_size,
                          " entries, checksum ", checksum_text(table.vocabulary_hash), ") than this dataset's (",
                          info.vocabulary_size, ", ", checksum_text(info.vocabulary_hash),
                          "); run cloze prepare again");
            dataset.shards_[static_cast<std::size_t>(which)].push_back(std::move(shard));
        }
        std::int64_t documents = 0;
        for (const auto& shard : dataset.shards_[static_cast<std::size_t>(which)]) {
            documents += shard->part().documents();
        }
        require_input(documents == info.split(which).documents, source, ": split ", name_of(which), " has ", documents,
                      " documents in its shards, ", info.split(which).documents, " in the manifest; run cloze prepare ",
                      "again");
    }
    return dataset;
}

std::shared_ptr<const TokenStore> Dataset::tokens(Split split) const {
    require_input(has(split), folder_.string(), ": no documents in split ", name_of(split),
                  "; prepare it again with more documents",
                  split == Split::held_out ? " and a held-out fraction above 0" : "");
    std::vector<TokenStore::Part> parts;
    std::string identity;
    for (const auto& shard : shards_[static_cast<std::size_t>(split)]) {
        parts.push_back({shard->part(), shard});
        identity.append(checksum_text(shard->table().checksum));
    }
    if (parts.size() > 1) identity = text(parts.size(), " shards ", checksum_text(xxh3(identity)));
    return std::make_shared<const TokenStore>(std::move(parts), std::move(identity));
}

void Dataset::verify(int threads) const {
    std::vector<std::shared_ptr<const Shard>> all = shards_[0];
    all.insert(all.end(), shards_[1].begin(), shards_[1].end());
    for_each_on_threads(static_cast<std::int64_t>(all.size()), threads,
                        [&](std::int64_t i) { all[static_cast<std::size_t>(i)]->verify(); });
}

}  // namespace cloze
