// Documents of sentences of token ids, read in place: from mapped shards (engine/data/shard.h) or from memory. All that
// sampling knows of a corpus. Looking up a document is a binary search over the shards, everything after it is pointer
// arithmetic. Tested by tests/data/sampler_test.cpp and tests/data/shard_test.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cloze {

/// One shard's arrays, wherever they lie. A view: TokenStore::Part::owner keeps them alive.
struct TokenPart {
    std::span<const std::uint16_t> narrow;           // [tokens]  ids, or empty when `wide` holds them
    std::span<const std::uint32_t> wide;             // [tokens]
    std::span<const std::uint32_t> sentence_offset;  // [sentences + 1]  first token of each sentence, ascending
    std::span<const std::uint32_t> document_offset;  // [documents + 1]  first sentence of each document, ascending

    std::int64_t tokens() const { return sentence_offset.empty() ? 0 : sentence_offset.back(); }
    std::int64_t sentences() const { return document_offset.empty() ? 0 : document_offset.back(); }
    std::int64_t documents() const {
        return document_offset.empty() ? 0 : static_cast<std::int64_t>(document_offset.size()) - 1;
    }
};

/// Throws Fault::input, naming `source`, unless the offsets start at 0, ascend strictly and end at the array's size.
void require_consistent(const TokenPart& part, const std::string& source);

/// One document. Its sentences lie side by side, so that any run of them is one run of tokens.
class DocumentView {
public:
    DocumentView(const TokenPart& part, std::int64_t document)
        : part_(&part),
          first_sentence_(part.document_offset[document]),
          sentences_(part.document_offset[document + 1] - part.document_offset[document]) {}

    std::int64_t sentences() const { return sentences_; }
    std::int64_t tokens() const { return tokens(0, sentences_); }
    /// Tokens of sentences [first, first + count).
    std::int64_t tokens(std::int64_t first, std::int64_t count) const {
        const std::uint32_t* offset = part_->sentence_offset.data() + first_sentence_ + first;
        return static_cast<std::int64_t>(offset[count]) - offset[0];
    }
    /// Writes `count` ids, the first being token `skip` of sentence `sentence`; they may run on into later sentences.
    void copy(std::int64_t sentence, std::int64_t skip, std::int64_t count, std::int32_t* ids) const;

private:
    const TokenPart* part_;
    std::int64_t first_sentence_;
    std::int64_t sentences_;
};

/// The documents of one split, numbered through its parts in order. Immutable; shared by threads.
class TokenStore {
public:
    struct Part {
        TokenPart view;
        std::shared_ptr<const void> owner;
    };

    /// `identity` names the contents (for example the checksums of the shards): a saved position in a sample stream is
    /// only good for the store it came from.
    TokenStore(std::vector<Part> parts, std::string identity);

    std::int64_t documents() const { return documents_; }
    std::int64_t sentences() const { return sentences_; }
    std::int64_t tokens() const { return tokens_; }
    const std::string& identity() const { return identity_; }
    DocumentView document(std::int64_t document) const;

private:
    std::vector<Part> parts_;
    std::vector<std::int64_t> first_document_;  // [parts + 1]
    std::int64_t documents_ = 0;
    std::int64_t sentences_ = 0;
    std::int64_t tokens_ = 0;
    std::string identity_;
};

/// Documents under construction: what a shard writer buffers, and a whole store for tests and small embedders.
struct TokenArrays {
    std::vector<std::uint32_t> ids;
    std::vector<std::uint32_t> sentence_offset = {0};
    std::vector<std::uint32_t> document_offset = {0};

    void add_sentence(std::span<const std::int32_t> sentence);  // a sentence without tokens is dropped
    void end_document();                                        // a document without sentences is dropped
    TokenPart view() const;
};

std::shared_ptr<const TokenStore> store_in_memory(TokenArrays arrays, std::string identity);

}  // namespace cloze
