#include "engine/data/text_input.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "engine/files/atomic_folder.h"
#include "engine/text/sentences.h"
#include "kernels/core/error.h"

namespace cloze {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kBlockBytes = 256 << 10;
constexpr std::size_t kProbeBytes = 64 << 10;  // where NUL bytes mean "not text"
constexpr std::size_t kLongestLine = 4 << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

std::ifstream open_stream(const fs::path& file) {
    errno = 0;
    std::ifstream stream(file, std::ios::binary);
    if (!stream) fail_reading("read", file, errno == 0 ? EIO : errno);
    return stream;
}

void require_text(const fs::path& file) {
    std::ifstream stream = open_stream(file);
    std::string probe(kProbeBytes, '\0');
    stream.read(probe.data(), static_cast<std::streamsize>(probe.size()));
    if (stream.bad()) fail_reading("read", file, errno == 0 ? EIO : errno);
    probe.resize(static_cast<std::size_t>(stream.gcount()));
    const std::size_t nul = probe.find('\0');
    require_input(nul == std::string::npos, file.string(), " is not plain text: byte ", nul,
                  " is NUL; remove it from the input, or convert it to UTF-8 if it is UTF-16");
}

/// Files of one input with what the walk passed over.
class InputWalk {
public:
    InputWalk(TextCounts& counts, const std::function<void()>& poll) : counts_(&counts), poll_(&poll) {}

    void add_input(const fs::path& input) {
        std::error_code error;
        const fs::file_status status = fs::status(input, error);
        if (status.type() == fs::file_type::not_found) {
            fail(Fault::input, "input ", input.string(), " does not exist; check the path");
        }
        if (error) fail_reading("read", input, error.value());
        if (fs::is_directory(status)) {
            add_folder(input);
        } else {
            require_input(fs::is_regular_file(status), "input ", input.string(),
                          " is not a regular file; small texts are read twice, so save it to a file first");
            require_input(add_file(input), "input ", input.string(), " is empty; leave it out or put text into it");
        }
    }

    std::vector<TextFile> take() { return std::move(files_); }

private:
    void add_folder(const fs::path& folder) {
        std::vector<fs::path> found;
        list_folder(folder, found);
        std::ranges::sort(found, {}, [](const fs::path& path) { return path.generic_string(); });
        for (const fs::path& path : found) {
            if (!add_file(path)) ++counts_->empty_files;
        }
    }

    void list_folder(const fs::path& folder, std::vector<fs::path>& found) {
        std::error_code error;
        fs::directory_iterator entries(folder, error);
        for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
            (*poll_)();
            const fs::path& path = entries->path();
            std::error_code entry_error;
            const bool is_link = entries->is_symlink(entry_error);
            const fs::file_status status = entries->status(entry_error);
            if (entry_error && !is_link) fail_reading("read", path, entry_error.value());
            if (fs::is_directory(status) && !is_link) {
                // Datasets hold a vocab.txt, which is not text.
                if (!is_dataset(path) && !is_temporary_name(path.filename().string())) list_folder(path, found);
            } else if (path.extension() == ".txt" && fs::is_regular_file(status)) {
                found.push_back(path);
            } else {
                ++counts_->skipped_files;
            }
        }
        if (error) fail_reading("read", folder, error.value());
    }

    /// False when it is empty.
    bool add_file(const fs::path& file) {
        (*poll_)();
        std::error_code error;
        const fs::path canonical = fs::canonical(file, error);
        if (error) fail_reading("read", file, error.value());
        if (!seen_.insert(canonical.string()).second) {
            ++counts_->repeated_files;
            return true;
        }
        const auto bytes = static_cast<std::int64_t>(fs::file_size(file, error));
        if (error) fail_reading("read", file, error.value());
        if (bytes == 0) return false;
        require_text(file);
        files_.push_back({file, bytes});
        ++counts_->files;
        return true;
    }

    TextCounts* counts_;
    const std::function<void()>* poll_;
    std::vector<TextFile> files_;
    std::set<std::string> seen_;
};

/// Length of the white space that `text` begins with, or 0. White space as Python's str.strip sees it.
std::size_t leading_space(std::string_view text) {
    const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
    const unsigned first = byte(0);
    if (first == ' ' || (first >= 0x09 && first <= 0x0d) || (first >= 0x1c && first <= 0x1f)) return 1;
    if (first == 0xc2) return byte(1) == 0x85 || byte(1) == 0xa0 ? 2 : 0;  // U+0085, U+00A0
    const unsigned rest = byte(1) << 8 | byte(2);
    if (first == 0xe1) return rest == 0x9a80 ? 3 : 0;  // U+1680
    if (first == 0xe2) {                               // U+2000..U+200A, U+2028, U+2029, U+202F, U+205F
        const bool space =
            (rest >= 0x8080 && rest <= 0x808a) || rest == 0x80a8 || rest == 0x80a9 || rest == 0x80af || rest == 0x819f;
        return space ? 3 : 0;
    }
    if (first == 0xe3) return rest == 0x8080 ? 3 : 0;  // U+3000
    return 0;
}

bool is_blank(std::string_view line) {
    while (!line.empty()) {
        const std::size_t space = leading_space(line);
        if (space == 0) return false;
        line.remove_prefix(space);
    }
    return true;
}

/// Calls visit(line) for the lines of `text`, without LF; the last one may lack it.
template <typename Visit>
void for_each_line(std::string_view text, const Visit& visit) {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        visit(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

/// Where to cut a line that is too long: after its last space within the limit, else between two characters.
std::size_t cut_of(const std::string& line) {
    const std::size_t space = line.find_last_of(" \t", kLongestLine - 1);
    if (space != std::string::npos) return space + 1;
    std::size_t cut = kLongestLine;
    while (cut > kLongestLine - 4 && (static_cast<unsigned char>(line[cut]) & 0xc0) == 0x80) --cut;
    return cut;
}

}  // namespace

std::vector<TextFile> find_text(const std::vector<fs::path>& inputs, TextCounts& counts,
                                const std::function<void()>& poll) {
    require(!inputs.empty(), "no input; name at least one text file or folder with --input");
    InputWalk walk(counts, poll);
    for (const fs::path& input : inputs) walk.add_input(input);
    std::vector<TextFile> files = walk.take();
    require_input(!files.empty(), "no text in the input: ", counts.empty_files, " empty .txt files, ",
                  counts.skipped_files, " files of other kinds; name files directly to read them whatever their name");
    return files;
}

std::vector<std::string> text_warnings(const TextCounts& counts) {
    std::vector<std::string> lines;
    const auto warn = [&lines](std::int64_t count, const char* what) {
        if (count > 0) lines.push_back(text(count, " ", what));
    };
    warn(counts.skipped_files,
         "files in folders were passed over, because they are not named *.txt or are links to nowhere or to folders; "
         "name a file directly to read it whatever its name");
    warn(counts.empty_files, "empty files in folders were passed over");
    warn(counts.repeated_files, "files were named twice, read once");
    warn(counts.invalid_utf8, "invalid UTF-8 sequences were replaced; convert the text to UTF-8 if they are many");
    warn(counts.nul_bytes, "NUL bytes were dropped");
    warn(counts.cut_lines, "lines of more than 4 MiB were cut; is this text?");
    warn(counts.cut_documents, "documents longer than a shard were cut; separate documents by blank lines");
    return lines;
}

TextFormat detect_format(std::string_view text) {
    std::size_t lines = 0;
    std::vector<std::string_view> sentences;
    for_each_line(text, [&](std::string_view line) {
        if (is_blank(line)) return;
        ++lines;
        split_sentences(line, sentences);
    });
    return 2 * sentences.size() >= 3 * lines && lines > 0 ? TextFormat::paragraphs : TextFormat::lines;
}

TextReader::TextReader(std::vector<TextFile> files, TextFormat format, TextCounts& counts)
    : files_(std::move(files)), format_(format), counts_(&counts) {}

void TextReader::open_file() {
    stream_ = open_stream(files_[next_file_++].path);
    reading_ = true;
    read_block();
    if (pending_.starts_with(kByteOrderMark)) pending_.erase(0, kByteOrderMark.size());
    file_format_ = format_ == TextFormat::automatic ? detect_format(pending_) : format_;
    ++(file_format_ == TextFormat::lines ? counts_->files_as_lines : counts_->files_as_paragraphs);
}

void TextReader::read_block() {
    const std::size_t before = pending_.size();
    pending_.resize(before + kBlockBytes);
    errno = 0;
    stream_.read(pending_.data() + before, kBlockBytes);
    if (stream_.bad()) fail_reading("read", files_[next_file_ - 1].path, errno == 0 ? EIO : errno);
    pending_.resize(before + static_cast<std::size_t>(stream_.gcount()));
    counts_->bytes += stream_.gcount();
}

void TextReader::add_lines(TextUnit& unit, std::size_t bytes, bool ends_document) {
    const std::size_t begin = unit.text.size();
    unit.text.append(pending_, 0, bytes);
    pending_.erase(0, bytes);
    unit.pieces.push_back({begin, unit.text.size(), file_format_, ends_document});
}

bool TextReader::next(TextUnit& unit) {
    unit = {};
    while (unit.text.size() < kBlockBytes && (reading_ || next_file_ < files_.size())) {
        if (!reading_) open_file();
        if (stream_.eof()) {
            add_lines(unit, pending_.size(), true);
            reading_ = false;
            continue;
        }
        const std::size_t line_end = pending_.rfind('\n');
        if (line_end != std::string::npos) {
            add_lines(unit, line_end + 1, false);
        } else if (pending_.size() > kLongestLine) {
            add_lines(unit, cut_of(pending_), false);
            ++counts_->cut_lines;
        }
        read_block();
    }
    return !unit.pieces.empty();
}

UnitTokens tokenize_unit(const TextUnit& unit, const Tokenizer& tokenizer, WordCache& cache) {
    UnitTokens tokens;
    std::vector<std::string_view> sentences;
    const auto end_document = [&] { tokens.document_end.push_back(tokens.sentence_end.size()); };
    const auto add_sentence = [&](std::string_view sentence) {
        const std::size_t before = tokens.ids.size();
        tokens.counts.invalid_utf8 += tokenizer.encode(sentence, tokens.ids, cache);
        if (tokens.ids.size() > before) tokens.sentence_end.push_back(tokens.ids.size());
        return tokens.ids.size() > before;
    };
    for (const TextPiece& piece : unit.pieces) {
        const std::string_view text = std::string_view(unit.text).substr(piece.begin, piece.end - piece.begin);
        for_each_line(text, [&](std::string_view line) {
            if (is_blank(line)) return end_document();
            bool any = false;
            if (piece.format == TextFormat::lines) {
                any = add_sentence(line);
            } else {
                sentences.clear();
                split_sentences(line, sentences);
                for (const std::string_view sentence : sentences) any |= add_sentence(sentence);
            }
            if (!any) ++tokens.counts.lines_without_tokens;
        });
        if (piece.ends_document) end_document();
    }
    tokens.counts.nul_bytes = std::ranges::count(unit.text, '\0');
    tokens.counts.unknown_tokens = std::ranges::count(tokens.ids, tokenizer.vocabulary().special().unknown);
    return tokens;
}

}  // namespace cloze
