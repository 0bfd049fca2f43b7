#include "engine/data/prepare.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "engine/data/ordered_threads.h"
#include "engine/data/shard.h"
#include "engine/data/text_input.h"
#include "engine/files/atomic_folder.h"
#include "kernels/core/error.h"
#include "kernels/core/random_stream.h"

namespace cloze {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kShardSentences = std::int64_t{1} << 25;  // bounds the memory that offsets take

/// Puts documents into the shards of their split, in order.
class DocumentWriter {
public:
    /// `moved`: documents that go to the other split than their draw says.
    DocumentWriter(AtomicFolder& folder, const Vocabulary& vocabulary, const PrepareSettings& settings,
                   std::optional<std::uint64_t> moved, DatasetInfo& info)
        : folder_(&folder), vocabulary_(&vocabulary), settings_(&settings), moved_(moved), info_(&info) {}

    void add_sentence(std::span<const std::int32_t> ids) {
        if (!in_document_) begin_document();
        if (document_tokens_ >= settings_->shard_tokens || document_sentences_ >= kShardSentences) {
            close_document();
            ++info_->text.cut_documents;
        }
        open_shard();
        shard()->add_sentence(ids);
        document_tokens_ += static_cast<std::int64_t>(ids.size());
        ++document_sentences_;
    }

    void end_document() {
        if (!in_document_) return;
        close_document();
        in_document_ = false;
    }

    void finish() {
        end_document();
        for (const Split which : {Split::train, Split::held_out}) {
            split_ = which;
            close_shard();
        }
    }

    /// Documents that were drawn for, and those that drew least and most.
    std::uint64_t documents() const { return next_document_; }
    std::uint64_t least() const { return least_.second; }
    std::uint64_t most() const { return most_.second; }

private:
    std::unique_ptr<ShardWriter>& shard() { return shards_[static_cast<std::size_t>(split_)]; }

    void begin_document() {
        const std::uint64_t document = next_document_++;
        RandomStream random({settings_->seed, RandomPurpose::held_out, 0, document});
        const double draw = random.next_bits() * 0x1p-32;
        least_ = std::min(least_, {draw, document});
        if (document == 0 || draw > most_.first) most_ = {draw, document};
        const bool held_out = (draw < settings_->held_out_fraction) != (moved_ == document);
        split_ = held_out ? Split::held_out : Split::train;
        in_document_ = true;
    }

    void open_shard() {
        if (shard()) return;
        const std::string number = std::to_string(info_->split(split_).shards.size());
        const std::string zeros(number.size() < 5 ? 5 - number.size() : 0, '0');
        const std::string name = text(name_of(split_), "-", zeros, number, ".shard");
        shard() = std::make_unique<ShardWriter>(folder_->create(name), vocabulary_->size(), vocabulary_->hash());
        info_->split(split_).shards.push_back(name);
    }

    void close_document() {
        document_tokens_ = 0;
        document_sentences_ = 0;
        if (!shard()) return;
        shard()->end_document();
        if (shard()->tokens() >= settings_->shard_tokens || shard()->sentences() >= kShardSentences) close_shard();
    }

    void close_shard() {
        if (!shard()) return;
        folder_->add(shard()->finish());
        SplitCounts& counts = info_->split(split_);
        counts.documents += shard()->documents();
        counts.sentences += shard()->sentences();
        counts.tokens += shard()->tokens();
        shard().reset();
    }

    AtomicFolder* folder_;
    const Vocabulary* vocabulary_;
    const PrepareSettings* settings_;
    std::optional<std::uint64_t> moved_;
    DatasetInfo* info_;
    std::array<std::unique_ptr<ShardWriter>, 2> shards_;
    Split split_ = Split::train;
    bool in_document_ = false;
    std::int64_t document_tokens_ = 0;
    std::int64_t document_sentences_ = 0;
    std::uint64_t next_document_ = 0;
    std::pair<double, std::uint64_t> least_ = {2.0, 0};
    std::pair<double, std::uint64_t> most_ = {-1.0, 0};
};

void require_prepare(const Vocabulary& vocabulary, const PrepareSettings& settings) {
    require(settings.held_out_fraction >= 0 && settings.held_out_fraction <= 0.5, "held-out fraction is ",
            settings.held_out_fraction, "; it must lie in [0, 0.5]");
    require(settings.shard_tokens >= 1 && settings.shard_tokens <= std::int64_t{1} << 30, "shard tokens is ",
            settings.shard_tokens, "; it must lie in [1, 2^30]");
    require(settings.threads >= 1, "threads is ", settings.threads, "; at least 1");
    require(vocabulary.size() > 0, "the vocabulary is empty");
    require(!settings.output.empty(), "no output; name the dataset folder with --output");
}

/// An output folder that holds anything but a dataset is never replaced, and a dataset only on request.
void require_replaceable(const PrepareSettings& settings) {
    const fs::path& output = settings.output;
    std::error_code error;
    if (!fs::exists(output, error)) return;
    require(fs::is_directory(output, error), output.string(), " is not a folder; choose another --output");
    for (const fs::directory_entry& entry : fs::directory_iterator(output)) {
        const std::string name = entry.path().filename().string();
        require(is_dataset(output) && (name == kDatasetManifest || name == "vocab.txt" || name.ends_with(".shard")),
                output.string(), " holds ", name, ", which is not part of a dataset; choose another --output");
    }
    require(!is_dataset(output) || settings.overwrite, output.string(),
            " holds a dataset already; choose another --output, or give --overwrite");
}

void require_going_on(const PrepareSettings& settings) {
    if (!settings.cancelled || !settings.cancelled()) return;
    fail(Fault::interrupted, "preparing was interrupted; ", settings.output.string(), " is unchanged");
}

void add_counts(TextCounts& sum, const TextCounts& unit) {
    sum.lines_without_tokens += unit.lines_without_tokens;
    sum.invalid_utf8 += unit.invalid_utf8;
    sum.nul_bytes += unit.nul_bytes;
    sum.unknown_tokens += unit.unknown_tokens;
}

void write_unit(const UnitTokens& unit, DocumentWriter& writer) {
    std::size_t sentence = 0;
    const auto write_until = [&](std::size_t end) {
        for (; sentence < end; ++sentence) {
            const std::size_t first = sentence == 0 ? 0 : unit.sentence_end[sentence - 1];
            writer.add_sentence(std::span(unit.ids).subspan(first, unit.sentence_end[sentence] - first));
        }
    };
    for (const std::size_t end : unit.document_end) {
        write_until(end);
        writer.end_document();
    }
    write_until(unit.sentence_end.size());
}

/// The document that must change sides because its draw left a split empty.
std::optional<std::uint64_t> document_to_move(const DatasetInfo& info, const DocumentWriter& writer) {
    if (info.split(Split::train).documents == 0) return writer.most();
    const bool wants_held_out = info.held_out_fraction > 0 && writer.documents() > 1;
    if (wants_held_out && info.split(Split::held_out).documents == 0) return writer.least();
    return std::nullopt;
}

/// Reads all of the text once. Throughput is the tokenizer's: this thread only reads, copies and writes.
void read_text(const std::vector<TextFile>& files, const Tokenizer& tokenizer, const PrepareSettings& settings,
               DocumentWriter& writer, DatasetInfo& info) {
    PrepareProgress progress;
    for (const TextFile& file : files) progress.bytes_total += file.bytes;
    std::vector<WordCache> caches(static_cast<std::size_t>(settings.threads));
    OrderedThreads<TextUnit, UnitTokens> threads(settings.threads, [&](const TextUnit& unit, int thread) {
        return tokenize_unit(unit, tokenizer, caches[static_cast<std::size_t>(thread)]);
    });
    const auto write_oldest = [&] {
        const UnitTokens unit = threads.take();
        require_going_on(settings);
        write_unit(unit, writer);
        add_counts(info.text, unit.counts);
        progress.documents = static_cast<std::int64_t>(writer.documents());
        progress.tokens += static_cast<std::int64_t>(unit.ids.size());
        progress.bytes_done = info.text.bytes;
        if (settings.progress) settings.progress(progress);
    };
    TextReader reader(files, settings.format, info.text);
    TextUnit unit;
    while (reader.next(unit)) {
        if (threads.full()) write_oldest();
        threads.put(std::move(unit));
    }
    while (!threads.empty()) write_oldest();
    writer.finish();
}

}  // namespace

TextFormat parse_text_format(const std::string& name) {
    if (name == "auto") return TextFormat::automatic;
    if (name == "lines") return TextFormat::lines;
    if (name == "paragraphs") return TextFormat::paragraphs;
    fail(Fault::usage, "text format \"", name, "\" is not one of auto, lines, paragraphs");
}

const char* name_of(TextFormat format) {
    return format == TextFormat::automatic ? "auto" : format == TextFormat::lines ? "lines" : "paragraphs";
}

DatasetInfo prepare_dataset(const Vocabulary& vocabulary, const PrepareSettings& settings) {
    require_prepare(vocabulary, settings);
    remove_leftovers_of(settings.output);
    require_replaceable(settings);
    DatasetInfo start;
    start.vocabulary_size = vocabulary.size();
    start.vocabulary_hash = vocabulary.hash();
    start.tokenizer_mode_name = tokenizer_mode_name(settings.tokenizer.mode);
    start.tokenizer = settings.tokenizer;
    start.format = name_of(settings.format);
    start.held_out_fraction = settings.held_out_fraction;
    start.held_out_seed = settings.seed;
    for (const fs::path& input : settings.inputs) start.inputs.push_back(input.string());
    const std::vector<TextFile> files =
        find_text(settings.inputs, start.text, [&settings] { require_going_on(settings); });
    const Tokenizer tokenizer(vocabulary, settings.tokenizer);

    std::optional<std::uint64_t> moved;
    for (;;) {
        DatasetInfo info = start;
        AtomicFolder folder(settings.output);
        DocumentWriter writer(folder, vocabulary, settings, moved, info);
        read_text(files, tokenizer, settings, writer, info);
        require_input(writer.documents() > 0, "no usable text in ", info.text.files, " files of ", info.text.bytes,
                      " bytes: not one token; check --input and --format");
        if (!moved) {
            moved = document_to_move(info, writer);
            if (moved) continue;
        }
        folder.add("vocab.txt", vocabulary.contents());
        folder.commit(kDatasetManifest, dataset_json(info));
        return info;
    }
}

std::vector<std::string> prepare_warnings(const DatasetInfo& info) {
    std::vector<std::string> lines;
    const TextCounts& counts = info.text;
    const std::int64_t tokens = info.split(Split::train).tokens + info.split(Split::held_out).tokens;
    if (info.split(Split::held_out).documents == 0 && info.held_out_fraction > 0) {
        lines.push_back(
            "one document only, so nothing is held out and training cannot be evaluated; separate documents by blank "
            "lines or give several files");
    }
    for (std::string& line : text_warnings(counts)) lines.push_back(std::move(line));
    if (tokens > 0 && counts.unknown_tokens * 100 > tokens) {
        lines.push_back(text(counts.unknown_tokens, " of ", tokens, " tokens are [UNK]; does the vocabulary fit the ",
                             "language and casing of the text?"));
    }
    return lines;
}

}  // namespace cloze
