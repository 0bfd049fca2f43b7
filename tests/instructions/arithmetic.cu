// Fast functions and matrix products: results that depend on the device, within stated bounds.
#include "kernels/device/math.h"
#include "kernels/device/mma.h"
#include "tests/instructions/case_words.h"
#include "tests/instructions/instructions.h"

namespace cloze::instructions {

namespace {

struct Exp2 {
    __device__ static float of(float x) { return fast_exp2(x); }
};
struct Log2 {
    __device__ static float of(float x) { return fast_log2(x); }
};
struct Reciprocal {
    __device__ static float of(float x) { return fast_reciprocal(x); }
};
struct Rsqrt {
    __device__ static float of(float x) { return fast_rsqrt(x); }
};
struct Exp {
    __device__ static float of(float x) { return fast_exp(x); }
};
struct Sigmoid {
    __device__ static float of(float x) { return fast_sigmoid(x); }
};
struct Tanh {
    __device__ static float of(float x) { return fast_tanh(x); }
};

template <typename Function>
__global__ void apply(std::uint32_t* out, const std::uint32_t* in) {
    const std::int64_t at = case_index() * 32 + lane_index();
    out[at] = canonical_bits(Function::of(float_of_bits(in[at])));
}

__global__ void multiply(std::uint32_t* out, const std::uint32_t* in) {
    in += case_index() * (kMatrixAWords + kMatrixBWords + kMatrixDWords);
    const std::uint32_t* a_words = in + 4 * lane_index();
    const std::uint32_t* b_words = in + kMatrixAWords + 2 * lane_index();
    const std::uint32_t* d_words = in + kMatrixAWords + kMatrixBWords + 4 * lane_index();
    const std::uint32_t a[4] = {a_words[0], a_words[1], a_words[2], a_words[3]};
    const std::uint32_t b[2] = {b_words[0], b_words[1]};
    float d[4];
    for (int i = 0; i < 4; ++i) d[i] = float_of_bits(d_words[i]);
    mma_m16n8k16(d, a, b);
    out += case_index() * kMatrixDWords + 4 * lane_index();
    for (int i = 0; i < 4; ++i) out[i] = canonical_bits(d[i]);
}

template <typename Function>
Instruction function_of(const char* name) {
    return {.name = name,
            .kernel = apply<Function>,
            .input_words = 32,
            .output_words = 32,
            .inputs = argument,
            .outputs = Outputs::function,
            .cases = 128};  // of 32 arguments
}

}  // namespace

std::vector<Instruction> arithmetic() {
    return {
        function_of<Exp2>("fast_exp2"),
        function_of<Log2>("fast_log2"),
        function_of<Reciprocal>("fast_reciprocal"),
        function_of<Rsqrt>("fast_rsqrt"),
        function_of<Exp>("fast_exp"),
        function_of<Sigmoid>("fast_sigmoid"),
        function_of<Tanh>("fast_tanh"),
        {.name = "mma_m16n8k16",
         .kernel = multiply,
         .input_words = kMatrixAWords + kMatrixBWords + kMatrixDWords,
         .output_words = kMatrixDWords,
         .inputs = matrix_word,
         .outputs = Outputs::product},
    };
}

}  // namespace cloze::instructions
