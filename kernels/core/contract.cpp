#include "kernels/core/contract.h"

namespace cloze {

void require_floating(const char* op, const Named& argument) {
    const DType dtype = argument.tensor.dtype;
    require(is_floating(dtype), op, ": ", argument.name, " is ", name_of(dtype), ", but must be f64, f32 or bf16");
}

DropoutRate require_dropout_rate(const char* op, double probability, DropoutRate (*rounded)(double)) {
    require(probability >= 0 && probability < 1, op, ": dropout probability ", probability, " is outside [0, 1)");
    const DropoutRate rate = rounded(probability);
    require(rate.threshold < rate.steps, op, ": dropout probability ", probability, " rounds to 1 in steps of 1/",
            rate.steps);
    return rate;
}

Place common_place(const char* op, std::initializer_list<Named> arguments) {
    const Named* first = nullptr;
    for (const Named& argument : arguments) {
        if (!argument.tensor) continue;
        if (first == nullptr) first = &argument;
        require(argument.tensor.place == first->tensor.place, op, ": ", first->name, " is ", describe(first->tensor),
                ", but ", argument.name, " is ", describe(argument.tensor), "; all arguments must lie in one place");
    }
    return first == nullptr ? Place::host : first->tensor.place;
}

void fail_without_device(const char* op) {
    fail(Fault::device, op, ": the tensors lie on a device, but this build has no device code; use host tensors");
}

void require_vectors(const char* op, std::initializer_list<Named> arguments) {
    for (const auto& [name, tensor] : arguments) {
        if (!tensor || tensor.count() == 0) continue;
        require(tensor.dtype == DType::f32 || tensor.dtype == DType::bf16, op, ": ", name, " is ", describe(tensor),
                "; devices compute in f32 and bf16");
        require(tensor.cols % 8 == 0 && (tensor.rows == 1 || tensor.stride % 8 == 0), op, ": ", name, " is ",
                describe(tensor), "; devices need columns and row stride in multiples of 8");
        require(reinterpret_cast<std::uintptr_t>(tensor.address) % 16 == 0, op, ": ", name,
                " starts at an address that is not a multiple of 16; devices need that");
    }
}

namespace {

const char* end_of(const Tensor& tensor) {
    const std::int64_t elements = (tensor.rows - 1) * tensor.stride + tensor.cols;
    return static_cast<const char*>(tensor.address) + elements * size_of(tensor.dtype);
}

}  // namespace

bool overlaps(const Tensor& a, const Tensor& b) {
    if (!a || !b || a.count() == 0 || b.count() == 0) return false;
    return static_cast<const char*>(a.address) < end_of(b) && static_cast<const char*>(b.address) < end_of(a);
}

void require_apart(const char* op, const Named& output, std::initializer_list<Named> others) {
    for (const Named& other : others) {
        require(!overlaps(output.tensor, other.tensor), op, ": ", output.name, " shares memory with ", other.name,
                "; give it a buffer of its own");
    }
}

void require_same_or_apart(const char* op, const Named& output, const Named& input) {
    const Tensor& a = output.tensor;
    const Tensor& b = input.tensor;
    const bool same = a.address == b.address && a.rows == b.rows && a.cols == b.cols && a.stride == b.stride;
    require(same || !overlaps(a, b), op, ": ", output.name, " may be ", input.name,
            " or lie apart from it, but they overlap in part");
}

}  // namespace cloze
