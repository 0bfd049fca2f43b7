#include "engine/text/vocabulary_trainer.h"

#include <algorithm>
#include <map>
#include <unordered_map>
#include <utility>

#include "engine/text/piece_merger.h"
#include "engine/text/run_counter.h"
#include "engine/text/word_piece.h"
#include "engine/text/word_splitter.h"
#include "kernels/core/error.h"
#include "kernels/core/parallel.h"

namespace cloze {
namespace {

// Each part of a large text is counted into a table of its own; sums do not depend on who counted what.
constexpr std::size_t kParts = 8;
constexpr std::size_t kWorthCutting = 1 << 20;  // bytes
constexpr std::int64_t kProgressEvery = 256;    // merges

constexpr std::string_view kCapitalSigma = "\xCE\xA3";  // U+03A3

struct CountedWord {
    std::string text;
    std::int64_t times;
};

std::u32string characters_of(std::string_view text) {
    std::u32string characters;
    while (!text.empty()) {
        const Utf8Character c = decode_utf8(text.data(), static_cast<std::int64_t>(text.size()));
        characters += c.code;
        text.remove_prefix(static_cast<std::size_t>(c.bytes));
    }
    return characters;
}

std::string to_utf8(char32_t code) {
    std::string text;
    append_utf8(text, code);
    return text;
}

bool is_white(char c) {
    return byte_class(c) == ByteClass::space;
}

/// The pieces of the vocabulary in the making; the id is the place.
class PieceTable {
public:
    /// The id of `piece`, which is added if it is new.
    std::int32_t add(const std::string& piece) {
        const auto [at, is_new] = ids_.try_emplace(piece, static_cast<std::int32_t>(pieces_.size()));
        if (is_new) pieces_.push_back(piece);
        return at->second;
    }
    const std::string& operator[](std::int32_t id) const { return pieces_[static_cast<std::size_t>(id)]; }
    std::int64_t size() const { return static_cast<std::int64_t>(pieces_.size()); }
    std::string contents() const {
        std::string all;
        for (const std::string& piece : pieces_) all += piece + '\n';
        return all;
    }

private:
    std::vector<std::string> pieces_;
    std::unordered_map<std::string, std::int32_t> ids_;
};

/// The characters that become pieces: the most frequent ones, the smaller code among equals, in order of code.
std::vector<char32_t> choose_alphabet(const std::vector<CountedWord>& words, std::int64_t limit,
                                      VocabularyTraining& result) {
    std::map<char32_t, std::int64_t> times;
    for (const CountedWord& word : words) {
        for (const char32_t c : characters_of(word.text)) times[c] += word.times;
    }
    std::vector<std::pair<char32_t, std::int64_t>> order(times.begin(), times.end());
    std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
    result.alphabet = std::min(limit, static_cast<std::int64_t>(order.size()));
    result.alphabet_dropped = static_cast<std::int64_t>(order.size()) - result.alphabet;
    std::vector<char32_t> alphabet;
    for (std::int64_t i = 0; i < result.alphabet; ++i) alphabet.push_back(order[static_cast<std::size_t>(i)].first);
    std::sort(alphabet.begin(), alphabet.end());
    return alphabet;
}

void add_reserved(const VocabularyOptions& options, PieceTable& table) {
    for (const std::string_view token : kSpecialTokens) table.add(std::string(token));
    for (const std::string& token : options.user_tokens) table.add(token);
    for (std::int64_t i = 0; i < options.unused; ++i) table.add("[unused" + std::to_string(i) + "]");
}

/// Adds the alphabet, and hands the words to the merger as single characters. A word that WordPiece would not look at
/// (too long, or with a character outside the alphabet) teaches nothing and is left out.
void add_characters(const std::vector<CountedWord>& words, const std::vector<char32_t>& alphabet,
                    std::int64_t max_characters, PieceTable& table, PieceMerger& merger) {
    std::unordered_map<char32_t, std::int32_t> first_id, later_id;
    for (const char32_t c : alphabet) first_id[c] = table.add(to_utf8(c));
    std::vector<std::pair<std::u32string, std::int64_t>> usable;
    std::vector<char32_t> later;
    for (const CountedWord& word : words) {
        std::u32string characters = characters_of(word.text);
        const bool known =
            std::all_of(characters.begin(), characters.end(), [&](char32_t c) { return first_id.contains(c); });
        if (!known || static_cast<std::int64_t>(characters.size()) > max_characters) continue;
        for (std::size_t i = 1; i < characters.size(); ++i) {
            if (later_id.try_emplace(characters[i], -1).second) later.push_back(characters[i]);
        }
        if (characters.size() > 1) usable.emplace_back(std::move(characters), word.times);
    }
    std::sort(later.begin(), later.end());
    for (const char32_t c : later) later_id[c] = table.add(std::string(kContinuationPrefix) + to_utf8(c));
    std::vector<std::int32_t> pieces;
    for (const auto& [characters, times] : usable) {
        pieces.assign(1, first_id[characters[0]]);
        for (std::size_t i = 1; i < characters.size(); ++i) pieces.push_back(later_id[characters[i]]);
        merger.add_word(pieces, times);
    }
}

void measure(const std::vector<CountedWord>& words, const TokenizerOptions& options, VocabularyTraining& result) {
    const Vocabulary vocabulary = Vocabulary::parse(result.contents, "being trained");
    const WordPiece pieces(vocabulary, options);
    for (const CountedWord& word : words) {
        std::int64_t count = 0;
        const auto emit = [&](std::int32_t, std::int32_t, std::int32_t, bool replaces_word) {
            count = replaces_word ? 1 : count + 1;
            result.unknown_words += replaces_word ? word.times : 0;
        };
        const auto characters = static_cast<std::int64_t>(characters_of(word.text).size());
        pieces.match(word.text.data(), word.text.data() + word.text.size(), characters, emit);
        result.words += word.times;
        result.pieces += count * word.times;
    }
    result.distinct_words = static_cast<std::int64_t>(words.size());
}

void check_options(const VocabularyOptions& options) {
    require(options.vocab_size > 0 && options.min_frequency > 0 && options.limit_alphabet > 0 && options.unused >= 0,
            "vocabulary training: vocab_size ", options.vocab_size, ", min_frequency ", options.min_frequency,
            ", limit_alphabet ", options.limit_alphabet, ", unused ", options.unused, ": all must be positive");
    require(options.unused <= options.vocab_size, "vocabulary training: ", options.unused,
            " unused tokens in a vocabulary of ", options.vocab_size, "; ask for fewer");
    for (const std::string& token : options.user_tokens) {
        const bool white = std::any_of(token.begin(), token.end(), is_white);
        require(!token.empty() && !white && first_invalid_utf8(token) < 0, "vocabulary training: user token '", token,
                "' is empty, has white space or is not UTF-8");
    }
}

}  // namespace

struct VocabularyTrainer::State {
    explicit State(const VocabularyOptions& chosen) : options(chosen), splitter(chosen.tokenizer) {}

    /// Every word of text[first, last) once more, in the light of what is around it.
    void add_in_context(std::string_view text, std::size_t first, std::size_t last);
    std::vector<CountedWord> words(VocabularyTraining& result) const;

    VocabularyOptions options;
    WordSplitter splitter;
    std::vector<RunCounter> counters = std::vector<RunCounter>(kParts);
    std::unordered_map<std::string, std::int64_t> context_words;
    std::int64_t context_invalid = 0;
};

VocabularyTrainer::VocabularyTrainer(const VocabularyOptions& options) {
    check_options(options);
    if (options.threads > 0) set_thread_count(options.threads);
    state_ = std::make_unique<State>(options);
}

VocabularyTrainer::~VocabularyTrainer() = default;

void VocabularyTrainer::State::add_in_context(std::string_view text, std::size_t first, std::size_t last) {
    Word scratch;
    const auto counts =
        splitter.split(text, first, last, 0, scratch, [&](const Word& word) { ++context_words[word.text()]; });
    context_invalid += counts.invalid;
}

void VocabularyTrainer::add_text(std::string_view utf8) {
    State& state = *state_;
    // The one thing that looks beyond a run: the case of a sigma in mode google.
    const bool sigma_matters =
        state.options.tokenizer.mode == TokenizerMode::google && state.options.tokenizer.lowercase;
    const auto count = [&](std::string_view part) {
        const std::size_t parts = part.size() < kWorthCutting ? 1 : kParts;
        const auto cut = [&](std::size_t i) {
            std::size_t at = i == parts ? part.size() : part.size() / parts * i;
            while (i > 0 && at < part.size() && !is_white(part[at])) ++at;
            return at;
        };
        parallel_for(static_cast<std::int64_t>(parts), [&](std::int64_t index) {
            const auto i = static_cast<std::size_t>(index);
            state.counters[i].count(part.substr(cut(i), cut(i + 1) - cut(i)));
        });
    };
    std::size_t counted = 0;
    for (std::size_t at = sigma_matters ? utf8.find(kCapitalSigma) : std::string_view::npos;
         at != std::string_view::npos; at = utf8.find(kCapitalSigma, counted)) {
        std::size_t first = at, last = at;
        while (first > counted && !is_white(utf8[first - 1])) --first;
        while (last < utf8.size() && !is_white(utf8[last])) ++last;
        count(utf8.substr(counted, first - counted));
        state.add_in_context(utf8, first, last);
        counted = last;
    }
    count(utf8.substr(counted));
}

/// Every distinct word with its count, in order of its bytes.
std::vector<CountedWord> VocabularyTrainer::State::words(VocabularyTraining& result) const {
    std::unordered_map<std::string, std::int64_t> times = context_words;
    result.invalid_sequences = context_invalid;
    Word scratch;
    for (const RunCounter& counter : counters) {
        counter.each([&](std::string_view run, std::int64_t runs) {
            const auto counts = splitter.split(run, scratch, [&](const Word& word) { times[word.text()] += runs; });
            result.invalid_sequences += counts.invalid * runs;
        });
    }
    std::vector<CountedWord> words;
    words.reserve(times.size());
    while (!times.empty()) {
        auto node = times.extract(times.begin());
        words.push_back({std::move(node.key()), node.mapped()});
    }
    std::sort(words.begin(), words.end(), [](const auto& a, const auto& b) { return a.text < b.text; });
    return words;
}

VocabularyTraining VocabularyTrainer::train(const std::function<void(std::int64_t, std::int64_t)>& progress) const {
    const VocabularyOptions& options = state_->options;
    VocabularyTraining result;
    const std::vector<CountedWord> words = state_->words(result);
    require_input(!words.empty(), "vocabulary training: the text has no words; check the input files");
    PieceTable table;
    PieceMerger merger;
    add_reserved(options, table);
    const std::vector<char32_t> alphabet = choose_alphabet(words, options.limit_alphabet, result);
    add_characters(words, alphabet, max_word_characters(options.tokenizer.mode), table, merger);
    require(options.vocab_size >= table.size(), "vocabulary training: vocab_size ", options.vocab_size,
            " is too small: special tokens, user tokens and the ", result.alphabet, " characters of this text need ",
            table.size(), "; raise vocab_size to at least that, or lower limit_alphabet");
    merger.index_pairs();
    PieceMerger::Pair pair{};
    for (std::int64_t merges = 0; table.size() < options.vocab_size && merger.most_frequent(pair); ++merges) {
        if (pair.times < options.min_frequency) break;
        const std::int32_t joined = table.add(table[pair.left] + table[pair.right].substr(kContinuationPrefix.size()));
        merger.merge(pair, joined);
        if (progress && merges % kProgressEvery == 0) progress(table.size(), options.vocab_size);
    }
    result.contents = table.contents();
    result.size = table.size();
    measure(words, options.tokenizer, result);
    if (progress) progress(table.size(), options.vocab_size);
    return result;
}

}  // namespace cloze
