// The text side of prepare: finds the files, reads them once from start to end, cuts them into units of whole lines,
// and tokenises a unit. The rules are stated in engine/data/prepare.h. Tested by tests/data/prepare_test.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/data/dataset.h"
#include "engine/data/prepare.h"

namespace cloze {

struct TextFile {
    std::filesystem::path path;
    std::int64_t bytes;
};

/// Files in the order of reading. Counts what it passes over. Throws for what is missing, unreadable, binary or empty.
/// `poll` is called for every file that is met, and may end the search by throwing.
std::vector<TextFile> find_text(
    const std::vector<std::filesystem::path>& inputs, TextCounts& counts, const std::function<void()>& poll = [] {});

/// What a user should know about the text: one line for each thing that was passed over, replaced, dropped or cut.
std::vector<std::string> text_warnings(const TextCounts& counts);

/// Whole lines of one file, within a unit.
struct TextPiece {
    std::size_t begin;
    std::size_t end;
    TextFormat format;   // lines or paragraphs
    bool ends_document;  // the file ends here
};

/// What is tokenised at once, by one thread: about 256 KiB, many small files or a part of a large one. Where units end
/// does not show in the result.
struct TextUnit {
    std::string text;
    std::vector<TextPiece> pieces;
};

class TextReader {
public:
    TextReader(std::vector<TextFile> files, TextFormat format, TextCounts& counts);
    /// False at the end.
    bool next(TextUnit& unit);

private:
    void open_file();
    void read_block();
    void add_lines(TextUnit& unit, std::size_t bytes, bool ends_document);

    std::vector<TextFile> files_;
    TextFormat format_;
    TextCounts* counts_;
    std::size_t next_file_ = 0;
    std::ifstream stream_;
    bool reading_ = false;
    TextFormat file_format_ = TextFormat::lines;
    std::string pending_;  // of the current file, not yet given out
};

/// `lines` or `paragraphs` for a file that begins with `text`.
TextFormat detect_format(std::string_view text);

struct UnitTokens {
    std::vector<std::int32_t> ids;
    std::vector<std::size_t> sentence_end;  // in ids
    std::vector<std::size_t> document_end;  // in sentences
    TextCounts counts;                      // what this unit adds
};

UnitTokens tokenize_unit(const TextUnit& unit, const Tokenizer& tokenizer, WordCache& cache);

}  // namespace cloze
