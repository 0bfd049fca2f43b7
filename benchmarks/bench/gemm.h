// The matrix products of BERT, through a vendor library: which there are, and what runs them. All matrices are
// row-major, as in the rest of Cloze; a linear layer holds its weight as [outputs, inputs], as HuggingFace does:
//
//   forward   y[tokens, outputs]   = x[tokens, inputs] w[outputs, inputs]^T
//   dgrad     dx[tokens, inputs]   = dy[tokens, outputs] w[outputs, inputs]
//   wgrad     dw[outputs, inputs]  = dy[tokens, outputs]^T x[tokens, inputs]       (or added to dw)
//
// Inputs in bf16, sums in f32, output in bf16 or f32.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "benchmarks/bench/runner.h"

namespace cloze::bench {

enum class Pass : std::uint8_t { forward, dgrad, wgrad };

/// What a product does besides, in the same kernel.
enum class Epilogue : std::uint8_t {
    none,
    bias,         // forward: y += bias[outputs]
    gelu_aux,     // forward: y = gelu(x w^T + bias), and what gelu was given is kept; in its tanh form
    dgelu_bgrad,  // dgrad: dx *= gelu'(kept), and the column sums of dx: the layer before's bias gradient
    bgrad,        // wgrad: the column sums of dy: this layer's bias gradient
};

struct Product {
    Pass pass;
    std::int64_t tokens, outputs, inputs;
    Epilogue epilogue = Epilogue::none;
    bool f32_output = false;
    bool accumulate = false;

    double flops() const { return 2.0 * static_cast<double>(tokens * outputs * inputs); }
};

/// Tokens of the products: the smallest and the largest of the settings'.
std::vector<Product> products_of(const CaseSettings& settings);

/// A row that is not measured.
Row row_of(const Product& product);

struct BestAlgorithm {
    Timing timing;
    std::string algorithm;
};

class ProductLibrary {
public:
    virtual ~ProductLibrary() = default;
    /// The fastest of the candidates; nothing where the library offers none.
    virtual std::optional<BestAlgorithm> time(const Product& product) = 0;
    /// The product again and again, with the state of the device once a second.
    virtual std::vector<SustainedSecond> sustain(const Product& product, double seconds) = 0;
};

/// Null in a build without cuBLASLt. `candidates`: algorithms that are tried for each product.
std::unique_ptr<ProductLibrary> open_cublaslt(Runner& runner, int candidates);

/// Never throws: what goes wrong is the row's status. `earlier` holds the plain product, if it was run.
Row run_product(ProductLibrary& library, const Product& product, const std::vector<Row>& earlier);

/// FLOP/s of the 8192^3 product: the roof of matrix products.
double measured_matmul(ProductLibrary& library);

/// The largest product of a layer of BERT-large: what --sustained runs.
inline constexpr Product kSustainedProduct{Pass::forward, 65536, 4096, 1024};

}  // namespace cloze::bench
