// Sentences of raw paragraphs, by rules. Cost: one pass. Tested by tests/text/sentences_test.cpp.
#pragma once

#include <string_view>
#include <vector>

namespace cloze {

/// Appends the sentences of `paragraph` in order, as views into it without surrounding white space. Together they hold
/// every character that is not white space: nothing is lost or changed. The rules are stated above the definition.
void split_sentences(std::string_view paragraph, std::vector<std::string_view>& sentences);

}  // namespace cloze
