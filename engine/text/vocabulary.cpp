#include "engine/text/vocabulary.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>
#include <xxhash.h>

#include "engine/text/utf8.h"
#include "kernels/core/error.h"

namespace cloze {

struct Vocabulary::Table {
    std::vector<std::string> tokens;
    std::unordered_map<std::string_view, std::int32_t> ids;  // views into `tokens`
    SpecialIds special{};
    std::uint64_t hash = 0;
};

namespace {

constexpr std::size_t kMostBytes = 64 << 20;
constexpr std::size_t kBlockBytes = 256 << 10;

std::vector<std::string> read_lines(std::string_view contents, const std::string& source) {
    std::vector<std::string> lines;
    while (!contents.empty()) {
        const std::size_t end = contents.find('\n');
        std::string_view line = contents.substr(0, end);
        contents.remove_prefix(end == std::string_view::npos ? contents.size() : end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        const std::size_t number = lines.size() + 1;
        require_input(!line.empty(), source, ": line ", number,
                      " is empty, but every line is a token; remove the line, or restore the token");
        require_input(first_invalid_utf8(line) < 0, source, ": line ", number,
                      " is not UTF-8; is this a vocabulary? Convert it to UTF-8");
        lines.emplace_back(line);
    }
    return lines;
}

}  // namespace

Vocabulary Vocabulary::read(const std::filesystem::path& file) {
    const std::string name = "vocabulary " + file.string();
    std::error_code error;
    const auto type = std::filesystem::status(file, error).type();
    require_input(type != std::filesystem::file_type::not_found, name,
                  ": does not exist; check the path, or make one with 'cloze vocab'");
    require_input(type != std::filesystem::file_type::directory, name, ": is a folder; give the file in it");
    std::ifstream in(file, std::ios::binary);
    if (!in) fail(Fault::io, name, ": cannot be opened: ", std::strerror(errno), "; check its permissions");
    std::string contents;
    std::string block(kBlockBytes, '\0');
    while (in && contents.size() <= kMostBytes) {
        in.read(block.data(), static_cast<std::streamsize>(block.size()));
        contents.append(block, 0, static_cast<std::size_t>(in.gcount()));
    }
    if (in.bad()) fail(Fault::io, name, ": cannot be read: ", std::strerror(errno), "; check the disk");
    require_input(contents.size() <= kMostBytes, name, ": is longer than ", kMostBytes >> 20,
                  " MiB, which no vocabulary is; were the text and the vocabulary exchanged?");
    return parse(contents, file.string());
}

Vocabulary Vocabulary::parse(std::string_view contents, const std::string& source) {
    auto table = std::make_shared<Table>();
    const std::string name = "vocabulary " + source;
    require_input(!contents.empty(), name, ": is empty; make one with 'cloze vocab'");
    table->tokens = read_lines(contents, name);
    const auto size = static_cast<std::int32_t>(table->tokens.size());
    table->ids.reserve(table->tokens.size());
    for (std::int32_t id = 0; id < size; ++id) {
        const auto [at, is_new] = table->ids.try_emplace(table->tokens[static_cast<std::size_t>(id)], id);
        require_input(is_new, name, ": lines ", at->second + 1, " and ", id + 1, " are the same token '", at->first,
                      "'; ids are line numbers, so replace one of them by another token, such as [unused", id, "]");
    }
    const auto id_of = [&](std::string_view token) {
        const auto found = table->ids.find(token);
        require_input(found != table->ids.end(), name, ": has no ", token,
                      "; BERT needs [PAD] [UNK] [CLS] [SEP] [MASK]: add the missing ones as lines at its end");
        return found->second;
    };
    table->special = {.pad = id_of(kPadToken),
                      .unknown = id_of(kUnknownToken),
                      .cls = id_of(kClsToken),
                      .sep = id_of(kSepToken),
                      .mask = id_of(kMaskToken)};
    Vocabulary vocabulary(std::move(table));
    const std::string normalised = vocabulary.contents();
    std::const_pointer_cast<Table>(vocabulary.table_)->hash = XXH3_64bits(normalised.data(), normalised.size());
    return vocabulary;
}

std::int32_t Vocabulary::size() const {
    return static_cast<std::int32_t>(table_->tokens.size());
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
    const auto found = table_->ids.find(token);
    if (found == table_->ids.end()) return std::nullopt;
    return found->second;
}

const std::string& Vocabulary::token(std::int32_t id) const {
    require(id >= 0 && id < size(), "vocabulary: no token ", id, " among ", size());
    return table_->tokens[static_cast<std::size_t>(id)];
}

const SpecialIds& Vocabulary::special() const {
    return table_->special;
}

bool Vocabulary::is_special(std::int32_t id) const {
    const SpecialIds& s = special();
    return id == s.pad || id == s.unknown || id == s.cls || id == s.sep || id == s.mask;
}

bool Vocabulary::is_continuation(std::int32_t id) const {
    const std::string& text = token(id);
    return text.size() > kContinuationPrefix.size() && text.starts_with(kContinuationPrefix);
}

std::uint64_t Vocabulary::hash() const {
    return table_->hash;
}

std::string Vocabulary::contents() const {
    std::string result;
    for (const std::string& token : table_->tokens) {
        result += token;
        result += '\n';
    }
    return result;
}

}  // namespace cloze
