// What an op's contract says besides shapes: the working type is a floating one, a dropout rate is
// possible, all tensors lie in one place, and
// which of them may share memory. Checked once per call; costs nanoseconds. Tested by
// tests/kernels/op_contract_test.cpp.
#pragma once

#include <initializer_list>

#include "kernels/core/dropout.h"
#include "kernels/core/tensor.h"

namespace cloze {

/// An argument with the name its message uses.
struct Named {
    const char* name;
    const Tensor& tensor;
};

/// Throws unless the tensor's type is one that visit_float knows.
void require_floating(const char* op, const Named& argument);

/// Throws unless `probability` is in [0, 1) and does not round to 1. `rounded`: hidden_dropout_rate or
/// attention_dropout_rate. Returns the rate.
DropoutRate require_dropout_rate(const char* op, double probability, DropoutRate (*rounded)(double));

/// Where an op runs: where all of its tensors that have memory lie.
Place common_place(const char* op, std::initializer_list<Named> arguments);

/// Ends a call whose tensors lie on a device, in a build without device code.
[[noreturn]] void fail_without_device(const char* op);

/// What device code asks of tensors it moves 16 bytes at a time: f32 or bf16, columns and row stride multiples of 8, an
/// address aligned to 16. Absent and empty ones are fine.
void require_vectors(const char* op, std::initializer_list<Named> arguments);

/// True when the memory of two views without gaps meets. Views with gaps between rows are taken with their gaps.
bool overlaps(const Tensor& a, const Tensor& b);

/// Throws unless `output` shares no memory with any of `others`.
void require_apart(const char* op, const Named& output, std::initializer_list<Named> others);

/// The same, but `output` may be exactly `input`: same address, same shape.
void require_same_or_apart(const char* op, const Named& output, const Named& input);

/// The elements of an argument that may be absent.
template <typename T>
T* data_or_null(const Tensor& tensor) {
    return tensor ? tensor.data<T>() : nullptr;
}

}  // namespace cloze
