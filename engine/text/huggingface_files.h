// The tokenizer files of a checkpoint folder, so that transformers' AutoTokenizer loads it with the same ids, and the
// way back. Mode google has no exact counterpart there: its files say 200 characters a word and carry the mode in a key
// of their own. Tested by tests/text/huggingface_files_test.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/text/tokenizer.h"

namespace cloze {

/// tokenizer.json: normalizer, pre-tokenizer, vocabulary, pair template, special tokens.
std::string tokenizer_json(const Vocabulary& vocabulary, const TokenizerOptions& options);

/// tokenizer_config.json. `model_max_length` is the model's position table.
std::string tokenizer_config_json(const Vocabulary& vocabulary, const TokenizerOptions& options,
                                  std::int64_t model_max_length);

/// special_tokens_map.json.
std::string special_tokens_map_json();

/// Options from tokenizer_config.json; absent keys have BERT's defaults. `source` is what messages call it.
TokenizerOptions parse_tokenizer_config(std::string_view contents, const std::string& source);

}  // namespace cloze
