// A line of standard input in, a line of ids out: what tests/differential/tokenizer.py drives.
// encode_lines VOCAB google|hf cased|uncased [offsets|words]
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"
#include "engine/text/word_splitter.h"
#include "kernels/core/error.h"

namespace {

int run(const std::vector<std::string>& arguments) {
    using namespace cloze;
    require(arguments.size() >= 3, "usage: encode_lines VOCAB google|hf cased|uncased [offsets|words]");
    TokenizerOptions options{.mode = parse_tokenizer_mode(arguments[1]), .lowercase = arguments[2] == "uncased"};
    const std::string what = arguments.size() > 3 ? arguments[3] : "ids";
    const Tokenizer tokenizer(Vocabulary::read(arguments[0]), options);
    const WordSplitter splitter(options);
    WordCache cache;
    Word scratch;
    std::vector<std::int32_t> ids, uncached;
    std::vector<Piece> pieces;
    std::string line, out;
    while (std::getline(std::cin, line)) {
        ids.clear();
        pieces.clear();
        uncached.clear();
        out.clear();
        const std::int64_t invalid = tokenizer.encode(line, ids, cache);
        tokenizer.encode(line, uncached);
        tokenizer.encode_with_offsets(line, pieces);
        bool same = ids == uncached && ids.size() == pieces.size();
        for (std::size_t i = 0; same && i < ids.size(); ++i) same = ids[i] == pieces[i].id;
        require(same, "encode_lines: cached, plain and offset encodings differ for: ", line);
        if (what == "words") {
            splitter.split(line, scratch, [&](const Word& word) { out += word.text() + " "; });
        } else {
            for (const Piece& piece : pieces) {
                out += std::to_string(piece.id) + " ";
                if (what == "offsets") out += std::to_string(piece.begin) + " " + std::to_string(piece.end) + " ";
            }
        }
        out += "| " + std::to_string(invalid) + "\n";
        std::fwrite(out.data(), 1, out.size(), stdout);
    }
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
