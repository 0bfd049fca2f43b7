// Embedding: three gathers, LayerNorm, dropout (BERT paper, figure 2), and a backward without atomics.
//
//   sum[t] = word[token_id[t]] + position[position_id[t]] + type[type_id[t]]
//   y[t]   = dropout(gamma * (sum[t] - mean[t]) * rstd[t] + beta)
//
// Backward adds, for each row of a table, the gradients of the tokens that used it. The batch brings for each id column
// an `order`: the token rows sorted by id, stable, rows of padding last; so no sort and no atomics at run time. To
// share out the work whatever the ids are (two types; one word a tenth of the text), an order is cut into pieces of
// kRowsPerChunk entries. Each id's tokens are added within a piece, in the order's order. An id whose run goes on over
// several pieces has a part in each: they are added in up to kLongRunShares shares of consecutive parts, then the
// shares in order. The result goes to the table. Ids are range-checked where a batch is assembled, not here.
// Statistics, y and backward start from `sum` as stored. On a device: f32 and bf16, hidden a multiple of 8, addresses
// aligned to 16; rows of up to 1,024 columns are the fast ones. Tested by tests/kernels/embedding_test.cpp and
// tests/kernels/device/embedding_test.cpp.
#pragma once

#include "kernels/core/cost.h"
#include "kernels/core/stream.h"
#include "kernels/hidden_dropout.h"

namespace cloze {

inline constexpr int kLongRunShares = 8;

struct EmbeddingForward {
    Tensor y;            // [tokens, hidden]          out
    Tensor sum;          // [tokens, hidden]          out, kept for backward
    Tensor mean, rstd;   // [tokens]  statistics      out, kept for backward
    Tensor token_id;     // [tokens]  i32             in
    Tensor position_id;  // [tokens]  i32             in
    Tensor type_id;      // [tokens]  i32             in
    Tensor word;         // [vocab rows, hidden]      in, may be padded with rows no id names
    Tensor position;     // [positions, hidden]       in
    Tensor type;         // [types, hidden]           in
    Tensor gamma, beta;  // [hidden]                  in
    double epsilon;      // added to the variance
    HiddenDropout dropout = {};
};

struct EmbeddingBackward {
    Tensor dword;                        // [vocab rows, hidden]  statistics  out
    Tensor dposition;                    // [positions, hidden]   statistics  out
    Tensor dtoken_type;                  // [types, hidden]       statistics  out
    Tensor dgamma, dbeta;                // [hidden]              statistics  out
    Tensor dsum;                         // [tokens, hidden]      out: gradient of sum; may be dy
    Tensor scratch;                      // [1, embedding_backward_scratch()]  statistics
    Tensor dy;                           // [tokens, hidden]      in
    Tensor sum;                          // [tokens, hidden]      in, of forward
    Tensor mean, rstd;                   // [tokens]  statistics  in, of forward
    Tensor gamma;                        // [hidden]              in
    Tensor token_id, token_order;        // [tokens]  i32  in; order = rows sorted by id, stable, padding last
    Tensor position_id, position_order;  // [tokens]  i32  in
    Tensor type_id, type_order;          // [tokens]  i32  in
    const BatchCounts* counts;           // rows from counts->tokens on are padding and add nothing; lies where dy does
    bool accumulate;                     // false: overwrite dposition, dtoken_type, dgamma, dbeta; true: add to them
    bool accumulate_word;                // the same for dword, which the tied masked-LM head may have written before
    HiddenDropout dropout = {};
};

void embedding_forward(const EmbeddingForward& arguments, Stream stream);
void embedding_backward(const EmbeddingBackward& arguments, Stream stream);

/// Elements of scratch that backward needs.
std::int64_t embedding_backward_scratch(std::int64_t tokens, std::int64_t hidden);

Cost embedding_forward_cost(std::int64_t tokens, std::int64_t hidden, DType dtype);
Cost embedding_backward_cost(std::int64_t tokens, std::int64_t hidden, DType dtype);

/// Device code (embedding.cu): called by the two above, which have checked the arguments.
namespace device_code {
void embedding_forward(const EmbeddingForward& arguments, Stream stream);
void embedding_backward(const EmbeddingBackward& arguments, Stream stream);
}  // namespace device_code

}  // namespace cloze
