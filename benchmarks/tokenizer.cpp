// Tokenizer throughput on one core: MB of text a second of processor time, so that a busy machine distorts it less;
// line by line as `cloze prepare` reads it, the file in memory. benchmark_tokenizer VOCAB FILE [google|hf]
// [cased|uncased]
#include "engine/text/tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/core/error.h"

namespace {

using namespace cloze;

constexpr int kRepeats = 7;

std::vector<std::string_view> lines_of(const std::string& contents) {
    std::vector<std::string_view> lines;
    for (std::string_view rest = contents; !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size() - 1);
        lines.push_back(rest.substr(0, end));
        rest.remove_prefix(end + 1);
    }
    return lines;
}

/// Runs once to warm up, then prints the median rate of the repeats and their spread.
void report(const char* name, std::size_t bytes, const std::function<std::size_t()>& body) {
    std::size_t pieces = body();
    std::vector<double> rates;
    for (int i = 0; i < kRepeats; ++i) {
        const std::clock_t start = std::clock();
        pieces = body();
        const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
        rates.push_back(static_cast<double>(bytes) / seconds / 1e6);
    }
    std::sort(rates.begin(), rates.end());
    std::printf("%-12s %8.1f MB/s (%.1f to %.1f)  %zu pieces\n", name, rates[kRepeats / 2], rates.front(), rates.back(),
                pieces);
}

int run(const std::vector<std::string>& arguments) {
    require(arguments.size() >= 2, "usage: benchmark_tokenizer VOCAB FILE [google|hf] [cased|uncased]");
    const TokenizerOptions options{.mode = parse_tokenizer_mode(arguments.size() > 2 ? arguments[2] : "hf"),
                                   .lowercase = arguments.size() <= 3 || arguments[3] == "uncased"};
    const Tokenizer tokenizer(Vocabulary::read(arguments[0]), options);
    std::ifstream in(arguments[1], std::ios::binary);
    const std::string contents{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    require_input(!contents.empty(), arguments[1], ": missing or empty");
    const std::vector<std::string_view> lines = lines_of(contents);
    std::printf("%s, %s, %.1f MB in %zu lines\n", arguments[1].c_str(), tokenizer_mode_name(options.mode).c_str(),
                static_cast<double>(contents.size()) / 1e6, lines.size());
    WordCache cache;
    std::vector<std::int32_t> ids;
    std::vector<Piece> pieces;
    const auto every_line = [&](auto& out, const auto& encode) {
        out.clear();
        for (const std::string_view line : lines) encode(line);
        return out.size();
    };
    report("plain", contents.size(),
           [&] { return every_line(ids, [&](std::string_view line) { tokenizer.encode(line, ids); }); });
    report("word cache", contents.size(),
           [&] { return every_line(ids, [&](std::string_view line) { tokenizer.encode(line, ids, cache); }); });
    report("offsets", contents.size(), [&] {
        return every_line(pieces, [&](std::string_view line) { tokenizer.encode_with_offsets(line, pieces); });
    });
    return 0;
}

}  // namespace

int main(int count, char** values) {
    try {
        return run({values + 1, values + count});
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
