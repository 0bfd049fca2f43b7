// `cloze tokenize`: standard input to standard output, a line in, a line out. Answers each line as soon as it is
// complete, so that another program can hold a conversation with it, and works in large blocks where input comes in
// large blocks. Cost: that of the tokenizer. Tested by tests/tools/tokenize_test.cpp.
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "engine/files/system_calls.h"
#include "engine/text/tokenizer.h"
#include "tools/commands.h"
#include "tools/flag_checks.h"
#include "tools/format.h"

namespace cloze {
namespace {

constexpr std::size_t kBlockBytes = 1 << 20;

struct TokenizeArguments {
    std::string vocab;
    std::string mode = "hf";
    bool ids = false;
    bool cased = false;
};

/// Tokenizes lines into a buffer of output.
class LineTokenizer {
public:
    LineTokenizer(const Vocabulary& vocabulary, const TokenizerOptions& options, bool ids)
        : vocabulary_(vocabulary), tokenizer_(vocabulary, options), ids_(ids) {}

    void add(std::string_view line) {
        found_.clear();
        invalid_ += tokenizer_.encode(line, found_, cache_);
        for (std::size_t i = 0; i < found_.size(); ++i) {
            if (i > 0) output_ += ' ';
            append(found_[i]);
        }
        output_ += '\n';
        if (output_.size() >= kBlockBytes) flush();
    }

    void flush() {
        const bool written = std::fwrite(output_.data(), 1, output_.size(), stdout) == output_.size();
        if (!written || std::fflush(stdout) != 0) fail_system("write to", "standard output", errno);
        output_.clear();
    }

    std::int64_t invalid() const { return invalid_; }

private:
    void append(std::int32_t id) {
        if (!ids_) {
            output_ += vocabulary_.token(id);
            return;
        }
        char digits[16];
        const auto end = std::to_chars(digits, digits + sizeof digits, id).ptr;
        output_.append(digits, end);
    }

    Vocabulary vocabulary_;
    Tokenizer tokenizer_;
    WordCache cache_;
    bool ids_;
    std::vector<std::int32_t> found_;
    std::string output_;
    std::int64_t invalid_ = 0;
};

/// Calls `use` with every line of standard input without its end, and `pause` whenever input may be waited for.
template <typename Use, typename Pause>
void for_each_line(const Use& use, const Pause& pause) {
    std::string pending;
    std::vector<char> block(kBlockBytes);
    while (true) {
        const ssize_t count = ::read(STDIN_FILENO, block.data(), block.size());
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) fail_system("read", "standard input", errno);
        if (count == 0) break;
        std::string_view rest(block.data(), static_cast<std::size_t>(count));
        for (std::size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
            if (pending.empty()) {
                use(rest.substr(0, end));
            } else {
                use(pending.append(rest.substr(0, end)));
                pending.clear();
            }
            rest.remove_prefix(end + 1);
        }
        pending += rest;
        pause();
    }
    if (!pending.empty()) use(pending);
    pause();
}

void run_tokenize(const TokenizeArguments& arguments) {
    const Vocabulary vocabulary = Vocabulary::read(arguments.vocab);
    LineTokenizer tokenizer(vocabulary, {.mode = parse_tokenizer_mode(arguments.mode), .lowercase = !arguments.cased},
                            arguments.ids);
    for_each_line([&](std::string_view line) { tokenizer.add(line); }, [&] { tokenizer.flush(); });
    if (tokenizer.invalid() > 0) {
        std::fprintf(stderr, "cloze tokenize: %s of invalid UTF-8 replaced\n",
                     counted(tokenizer.invalid(), "sequence").c_str());
    }
}

}  // namespace

Command tokenize_command(CLI::App& program) {
    auto arguments = std::make_shared<TokenizeArguments>();
    CLI::App* app = program.add_subcommand("tokenize", "Cut lines of standard input into WordPiece tokens");
    app->add_option("--vocab", arguments->vocab, "Vocabulary, one token a line")
        ->required()
        ->check(some_name())
        ->type_name("FILE");
    app->add_option("--mode", arguments->mode, "Whose rules: google or hf")->capture_default_str()->type_name("MODE");
    app->add_flag("--ids", arguments->ids, "Print ids instead of tokens");
    app->add_flag("--cased", arguments->cased, "Keep case and accents (for cased vocabularies)");
    app->footer(R"(Example:
  echo "Unaffable dogs" | cloze tokenize --vocab vocab.txt --mode hf --ids)");
    return {app, [arguments] { run_tokenize(*arguments); }};
}

}  // namespace cloze
