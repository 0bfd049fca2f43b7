#include "tools/inspect_report.h"

#include <algorithm>
#include <map>

#include "engine/data/shard.h"
#include "engine/files/atomic_folder.h"
#include "engine/files/safetensors.h"
#include "engine/model/parameters.h"
#include "engine/train/checkpoint.h"
#include "engine/train/metrics.h"
#include "engine/train/run_record.h"
#include "tools/format.h"

namespace cloze {
namespace {

namespace fs = std::filesystem;

using Rows = std::vector<std::pair<std::string, std::string>>;

/// Reads every file of a manifest; adds a row, and the damage.
Damage check_files(Rows& rows, const fs::path& folder, const Manifest& manifest) {
    Damage damage = find_damage(folder, manifest.files);
    std::int64_t bytes = 0;
    for (const FileRecord& file : manifest.files) bytes += file.bytes;
    rows.emplace_back("files", counted(static_cast<std::int64_t>(manifest.files.size()), "file") + ", " +
                                   bytes_text(bytes) +
                                   (damage.empty() ? "; every checksum is valid" : "; some are damaged"));
    return damage;
}

void add_config(Rows& rows, const BertConfig& config) {
    rows.emplace_back("model", grouped(config.num_hidden_layers) + " layers x " + grouped(config.hidden_size) + ", " +
                                   counted(config.num_attention_heads, "head") + ", " + config.hidden_act +
                                   ", vocabulary " + grouped(config.vocab_size) + ", positions " +
                                   grouped(config.max_position_embeddings));
    rows.emplace_back("parameters", grouped(parameter_table(config).parameter_count()) + " with all heads");
    const Json others = Json::parse(config.other_keys);
    std::string names;
    for (const auto& [key, value] : others.items()) names += (names.empty() ? "" : ", ") + key;
    if (!names.empty()) rows.emplace_back("other keys", names + " (kept as they are)");
}

/// "F32" -> how many tensors and elements.
std::string tensor_summary(const SafetensorsReader& file) {
    std::map<std::string, std::pair<std::int64_t, std::int64_t>> types;
    for (const StoredTensor& tensor : file.tensors()) {
        auto& [tensors, elements] = types[name_of(tensor.type)];
        ++tensors;
        elements += tensor.count();
    }
    std::string summary;
    for (const auto& [type, counts] : types) {
        summary += (summary.empty() ? "" : "; ") + counted(counts.first, "tensor") + " of " + type + ", " +
                   counted(counts.second, "element");
    }
    return summary.empty() ? "no tensors" : summary;
}

}  // namespace

std::string split_text(const SplitCounts& split) {
    return counted(split.documents, "document") + ", " + counted(split.sentences, "sentence") + ", " +
           counted(split.tokens, "token") + " in " + counted(static_cast<std::int64_t>(split.shards.size()), "shard");
}

Damage inspect_dataset(Console& console, const fs::path& folder) {
    console.heading("dataset " + folder.string());
    const Manifest manifest = read_manifest(folder, kDatasetManifest);
    const DatasetInfo info = parse_dataset(manifest.content, (folder / kDatasetManifest).string());
    Rows rows = {
        {"tokenizer", info.tokenizer_mode_name + (info.tokenizer.lowercase ? ", lower case" : ", cased")},
        {"vocabulary", counted(info.vocabulary_size, "token") + ", xxh3 " + checksum_text(info.vocabulary_hash)},
        {"training", split_text(info.split(Split::train))},
        {"held out", split_text(info.split(Split::held_out))},
        {"text", counted(info.text.files, "file") + ", " + bytes_text(info.text.bytes) + ", format " + info.format +
                     "; " + counted(info.text.invalid_utf8, "invalid UTF-8 sequence") + ", " +
                     counted(info.text.unknown_tokens, "unknown token")},
    };
    Damage damage = check_files(rows, folder, manifest);
    console.table(rows);
    if (!damage.empty()) return damage;
    Dataset::open(folder).verify(1);
    return {};
}

Damage inspect_shard(Console& console, const fs::path& file) {
    console.heading("token shard " + file.string());
    const auto shard = Shard::open(file);
    const TokenPart& part = shard->part();
    console.table({
        {"contents", counted(part.documents(), "document") + ", " + counted(part.sentences(), "sentence") + ", " +
                         counted(part.tokens(), "token")},
        {"ids", part.wide.empty() ? "16 bits" : "32 bits"},
    });
    try {
        shard->verify();
    } catch (const Error& error) {
        return {error.what()};
    }
    console.table({{"checksums", "every section is valid"}});
    return {};
}

Damage inspect_checkpoint(Console& console, const fs::path& folder) {
    console.heading("checkpoint " + folder.string());
    const Manifest manifest = read_manifest(folder, kCheckpointManifest);
    const JsonObject state(manifest.content, (folder / kCheckpointManifest).string());
    Rows rows = {{"step", grouped(state.require<std::int64_t>("step"))},
                 {"computed with", state.get_or<std::string>("matrix_library", "?")}};
    const Damage damage = check_files(rows, folder, manifest);
    if (damage.empty()) {
        add_config(rows, read_config(folder / "config.json"));
        rows.emplace_back("weights", tensor_summary(SafetensorsReader(folder / "model.safetensors")));
    }
    console.table(rows);
    return damage;
}

Damage inspect_model_folder(Console& console, const fs::path& folder) {
    console.heading("model folder " + folder.string());
    Rows rows;
    add_config(rows, read_config(folder / "config.json"));
    const fs::path weights = folder / "model.safetensors";
    rows.emplace_back("weights", fs::exists(weights) ? tensor_summary(SafetensorsReader(weights))
                                                     : "no model.safetensors: cannot be loaded");
    rows.emplace_back("vocabulary", fs::exists(folder / "vocab.txt")
                                        ? counted(Vocabulary::read(folder / "vocab.txt").size(), "token")
                                        : "none");
    console.table(rows);
    return {};
}

Damage inspect_run(Console& console, const fs::path& folder) {
    console.heading("run " + folder.string());
    Rows rows;
    if (const std::optional<Json> record = read_record(folder)) {
        const JsonObject run(*record, (folder / kRunRecord).string());
        const JsonObject optimizer = run.require_object("optimizer");
        rows.emplace_back("steps", grouped(optimizer.require<std::int64_t>("max_steps")) + ", learning rate " +
                                       scientific(optimizer.require<double>("learning_rate"), 2) + ", batch " +
                                       grouped(run.require<std::int64_t>("global_batch_size")));
    }
    Damage damage;
    for (const fs::path& checkpoint : list_checkpoints(folder)) {
        Damage found;
        try {
            found = find_damage(checkpoint, read_manifest(checkpoint, kCheckpointManifest).files);
        } catch (const Error& error) {
            found = {error.what()};
        }
        rows.emplace_back(rows.size() > 1 ? "" : "checkpoints",
                          checkpoint.filename().string() + (found.empty() ? "  valid" : "  damaged"));
        for (const std::string& line : found) damage.push_back(checkpoint.filename().string() + ": " + line);
    }
    const std::vector<std::string> last = read_last_lines(folder / kMetricsLog, 1);
    if (!last.empty()) rows.emplace_back("last metrics", last.front());
    console.table(rows);
    return damage;
}

Damage inspect_safetensors(Console& console, const fs::path& file) {
    console.heading("safetensors " + file.string());
    const SafetensorsReader reader(file);
    Rows rows = {{"contents", tensor_summary(reader)}};
    for (const auto& [key, value] : reader.metadata()) rows.emplace_back("metadata", key + " = " + value);
    console.table(rows);
    std::size_t longest = 0;
    for (const StoredTensor& tensor : reader.tensors()) longest = std::max(longest, tensor.name.size());
    for (const StoredTensor& tensor : reader.tensors()) {
        console.line("  " + tensor.name + std::string(longest + 2 - tensor.name.size(), ' ') + tensor.describe());
    }
    return {};
}

Damage inspect_vocabulary(Console& console, const fs::path& file) {
    const Vocabulary vocabulary = Vocabulary::read(file);
    console.heading("vocabulary " + file.string());
    std::int64_t continuing = 0;
    std::int64_t unused = 0;
    for (std::int32_t id = 0; id < vocabulary.size(); ++id) {
        continuing += vocabulary.is_continuation(id) ? 1 : 0;
        unused += vocabulary.token(id).starts_with("[unused") ? 1 : 0;
    }
    std::string specials;
    for (const std::string_view name : kSpecialTokens) {
        specials += (specials.empty() ? "" : ", ") + std::string(name) + " " +
                    std::to_string(vocabulary.find(name).value_or(-1));
    }
    console.table({{"tokens", grouped(vocabulary.size()) + ", " + grouped(continuing) + " that continue a word, " +
                                  grouped(unused) + " unused"},
                   {"special", specials},
                   {"xxh3", checksum_text(vocabulary.hash())}});
    return {};
}

Damage inspect_config(Console& console, const fs::path& file) {
    const BertConfig config = read_config(file);
    console.heading("model configuration " + file.string());
    Rows rows;
    add_config(rows, config);
    rows.emplace_back("dropout", fixed(config.hidden_dropout_prob, 3) + " hidden, " +
                                     fixed(config.attention_probs_dropout_prob, 3) + " attention");
    console.table(rows);
    return {};
}

}  // namespace cloze
