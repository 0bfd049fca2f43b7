#include "engine/data/token_store.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"

namespace cloze {

namespace {

void require_ascending(std::span<const std::uint32_t> offset, const char* name, const std::string& source) {
    require_input(!offset.empty() && offset[0] == 0, source, ": ", name,
                  " offsets do not start at 0; the file is damaged, run cloze prepare again");
    for (std::size_t i = 1; i < offset.size(); ++i) {
        require_input(offset[i] > offset[i - 1], source, ": ", name, " offset ", i, " is ", offset[i],
                      ", not above the one before it (", offset[i - 1],
                      "); the file is damaged, run cloze prepare again");
    }
}

}  // namespace

void require_consistent(const TokenPart& part, const std::string& source) {
    require_ascending(part.sentence_offset, "sentence", source);
    require_ascending(part.document_offset, "document", source);
    const std::size_t tokens = part.narrow.size() + part.wide.size();
    require_input(part.sentence_offset.back() == tokens, source, ": sentence offsets end at ",
                  part.sentence_offset.back(), " but there are ", tokens, " tokens; run cloze prepare again");
    require_input(part.document_offset.back() + std::size_t{1} == part.sentence_offset.size(), source,
                  ": document offsets end at ", part.document_offset.back(), " but there are ",
                  part.sentence_offset.size() - 1, " sentences; run cloze prepare again");
}

void DocumentView::copy(std::int64_t sentence, std::int64_t skip, std::int64_t count, std::int32_t* ids) const {
    const std::int64_t first = part_->sentence_offset[static_cast<std::size_t>(first_sentence_ + sentence)] + skip;
    if (part_->wide.empty()) {
        std::copy_n(part_->narrow.data() + first, count, ids);
    } else {
        std::copy_n(part_->wide.data() + first, count, ids);
    }
}

TokenStore::TokenStore(std::vector<Part> parts, std::string identity)
    : parts_(std::move(parts)), first_document_{0}, identity_(std::move(identity)) {
    for (const Part& part : parts_) {
        documents_ += part.view.documents();
        sentences_ += part.view.sentences();
        tokens_ += part.view.tokens();
        first_document_.push_back(documents_);
    }
    require_input(documents_ < (std::int64_t{1} << 32) - 1, "a split of ", documents_,
                  " documents: at most 4294967294 are supported; split the text into several datasets");
}

DocumentView TokenStore::document(std::int64_t document) const {
    require(document >= 0 && document < documents_, "TokenStore: no document ", document, " among ", documents_);
    const auto after = std::upper_bound(first_document_.begin(), first_document_.end(), document);
    const auto part = static_cast<std::size_t>(after - first_document_.begin()) - 1;
    return DocumentView(parts_[part].view, document - first_document_[part]);
}

void TokenArrays::add_sentence(std::span<const std::int32_t> sentence) {
    if (sentence.empty()) return;
    ids.insert(ids.end(), sentence.begin(), sentence.end());
    sentence_offset.push_back(static_cast<std::uint32_t>(ids.size()));
}

void TokenArrays::end_document() {
    const auto sentences = static_cast<std::uint32_t>(sentence_offset.size() - 1);
    if (sentences > document_offset.back()) document_offset.push_back(sentences);
}

TokenPart TokenArrays::view() const {
    return {.narrow = {}, .wide = ids, .sentence_offset = sentence_offset, .document_offset = document_offset};
}

std::shared_ptr<const TokenStore> store_in_memory(TokenArrays arrays, std::string identity) {
    arrays.end_document();
    auto owner = std::make_shared<const TokenArrays>(std::move(arrays));
    const TokenPart view = owner->view();
    require_consistent(view, identity);
    return std::make_shared<const TokenStore>(std::vector<TokenStore::Part>{{view, owner}}, std::move(identity));
}

}  // namespace cloze
