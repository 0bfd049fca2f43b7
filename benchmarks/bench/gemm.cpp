#include "benchmarks/bench/gemm.h"

namespace cloze::bench {

namespace {

/// A linear layer and how many rows go through it.
struct Layer {
    std::int64_t tokens, outputs, inputs;
    bool before_gelu = false;
    bool after_gelu = false;
};

void add_products(std::vector<Product>& products, const Layer& layer) {
    const auto add = [&](Pass pass, Epilogue epilogue, bool f32_output, bool accumulate) {
        products.push_back({pass, layer.tokens, layer.outputs, layer.inputs, epilogue, f32_output, accumulate});
    };
    add(Pass::forward, Epilogue::none, false, false);
    add(Pass::forward, Epilogue::bias, false, false);
    if (layer.before_gelu) add(Pass::forward, Epilogue::gelu_aux, false, false);
    add(Pass::dgrad, Epilogue::none, false, false);
    if (layer.after_gelu) add(Pass::dgrad, Epilogue::dgelu_bgrad, false, false);
    add(Pass::wgrad, Epilogue::none, false, false);
    add(Pass::wgrad, Epilogue::bgrad, false, false);
    add(Pass::wgrad, Epilogue::none, true, false);
    add(Pass::wgrad, Epilogue::none, true, true);
    add(Pass::wgrad, Epilogue::bgrad, true, false);
}

const char* name_of(Pass pass) {
    switch (pass) {
        case Pass::forward: return "gemm_forward";
        case Pass::dgrad: return "gemm_dgrad";
        case Pass::wgrad: return "gemm_wgrad";
    }
    return "?";
}

const char* name_of(Epilogue epilogue) {
    switch (epilogue) {
        case Epilogue::none: return "";
        case Epilogue::bias: return ", bias";
        case Epilogue::gelu_aux: return ", bias, gelu, aux";
        case Epilogue::dgelu_bgrad: return ", dgelu, bgrad";
        case Epilogue::bgrad: return ", bgrad";
    }
    return "?";
}

// Each input read once, each output written once.
Cost cost_of(const Product& p) {
    const std::int64_t x = p.tokens * p.inputs, y = p.tokens * p.outputs, w = p.outputs * p.inputs;
    const std::int64_t output = p.pass == Pass::forward ? y : p.pass == Pass::dgrad ? x : w;
    const std::int64_t inputs = x + y + w - output;
    const bool keeps = p.epilogue == Epilogue::gelu_aux || p.epilogue == Epilogue::dgelu_bgrad;
    const std::int64_t output_bytes = output * (p.f32_output ? 4 : 2);
    return {.bytes = 2 * inputs + output_bytes * (p.accumulate ? 2 : 1) + (keeps ? 2 * output : 0),
            .flops = 2 * p.tokens * p.outputs * p.inputs};
}

}  // namespace

std::vector<Product> products_of(const CaseSettings& settings) {
    std::vector<std::int64_t> sizes{settings.tokens.front()};
    if (settings.tokens.size() > 1) sizes.push_back(settings.tokens.back());
    std::vector<Product> products;
    for (const ModelSizes& model : settings.models) {
        const std::int64_t h = model.hidden, i = model.intermediate;
        for (const std::int64_t tokens : sizes) {
            const std::int64_t masked = masked_rows(tokens);
            for (const Layer& layer : {Layer{tokens, 3 * h, h}, Layer{tokens, h, h},
                                       Layer{.tokens = tokens, .outputs = i, .inputs = h, .before_gelu = true},
                                       Layer{.tokens = tokens, .outputs = h, .inputs = i, .after_gelu = true},
                                       Layer{.tokens = masked, .outputs = h, .inputs = h, .before_gelu = true},
                                       Layer{masked, model.padded_vocabulary, h}}) {
                add_products(products, layer);
            }
        }
    }
    return products;
}

Row row_of(const Product& product) {
    Row row{.op = name_of(product.pass),
            .variant = std::string(product.f32_output ? "f32" : "bf16") + name_of(product.epilogue) +
                       (product.accumulate ? ", added" : ""),
            .shape = std::to_string(product.tokens) + "x" + std::to_string(product.outputs) + "x" +
                     std::to_string(product.inputs),
            .dtype = "bf16",
            .cost = cost_of(product)};
    row.sizes = {{"tokens", product.tokens}, {"outputs", product.outputs}, {"inputs", product.inputs}};
    return row;
}

Row run_product(ProductLibrary& library, const Product& product, const std::vector<Row>& earlier) {
    Row row = row_of(product);
    try {
        const std::optional<BestAlgorithm> best = library.time(product);
        row.status = best ? kMeasured : kNotOffered;
        if (best) {
            row.timing = best->timing;
            row.detail = best->algorithm;
        }
    } catch (const std::exception& error) {
        row.status = error.what();
    }
    Product plain = product;
    plain.epilogue = Epilogue::none;
    plain.accumulate = false;
    const std::string plain_key = row_of(plain).key();
    for (const Row& other : earlier) {
        if (other.key() == plain_key && other.measured() && row.measured()) {
            row.over_plain = row.timing.median / other.timing.median;
        }
    }
    return row;
}

double measured_matmul(ProductLibrary& library) {
    const Product cube{Pass::forward, 8192, 8192, 8192};
    const std::optional<BestAlgorithm> best = library.time(cube);
    if (!best) fail(Fault::device, "cuBLASLt offers no algorithm for the 8192^3 product");
    return cube.flops() / best->timing.median;
}

}  // namespace cloze::bench
