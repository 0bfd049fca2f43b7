// Products through cuBLASLt. It thinks in columns: a row-major [rows, cols] tensor is to it a column-major [cols, rows]
// one with leading dimension `stride`. So d = op(a) op(b) is given transposed, D = op(b)^T op(a)^T: its A is our b, its
// B our a, and the bias lies along the rows of D, as it wants.
//
// Sums and epilogues. bf16 products are summed in f32. The library's own GELU and bias-gradient epilogues are not used:
// on an H200 they cost more than the kernels of this project (docs/performance.md).
#include <algorithm>
#include <cstring>
#include <iomanip>
#include <limits>
#include <map>
#include <sstream>
#include <tuple>

#include "engine/device/cublaslt.h"
#include "engine/device/device_gemm.h"
#include "kernels/core/device_memory.h"
#include "kernels/core/launch_log.h"

namespace cloze {

namespace {

using namespace cublaslt;

constexpr int kSuggestions = 16;
constexpr int kTimedCalls = 3;

/// All that decides a plan.
struct Key {
    std::int64_t m, n, k;
    std::int64_t a_stride, b_stride, d_stride;
    bool transpose_a, transpose_b, accumulate, bias;
    DType in, out;

    auto members() const {
        return std::tie(m, n, k, a_stride, b_stride, d_stride, transpose_a, transpose_b, accumulate, bias, in, out);
    }
    bool operator<(const Key& other) const { return members() < other.members(); }
};

Key key_of(const Gemm& g) {
    return {.m = g.d.rows,
            .n = g.d.cols,
            .k = g.transpose_a ? g.a.rows : g.a.cols,
            .a_stride = g.a.stride,
            .b_stride = g.b.stride,
            .d_stride = g.d.stride,
            .transpose_a = g.transpose_a,
            .transpose_b = g.transpose_b,
            .accumulate = g.accumulate,
            .bias = static_cast<bool>(g.bias),
            .in = g.a.dtype,
            .out = g.d.dtype};
}

/// "512 768 768 ..." as it stands in a checkpoint.
std::string line_of(const Key& key) {
    return text(key.m, ' ', key.n, ' ', key.k, ' ', key.a_stride, ' ', key.b_stride, ' ', key.d_stride, ' ',
                key.transpose_a, ' ', key.transpose_b, ' ', key.accumulate, ' ', key.bias, ' ', name_of(key.in), ' ',
                name_of(key.out));
}

/// An algorithm is 64 bytes, which the library allows to be kept and taken back by the same version.
std::string hex_of(const cublasLtMatmulAlgo_t& algorithm) {
    std::ostringstream out;
    out << std::hex << std::setfill('0');
    for (const std::uint64_t word : algorithm.data) out << std::setw(16) << word;
    return out.str();
}

cublasLtMatmulAlgo_t algorithm_of(const std::string& hex, const std::string& line) {
    cublasLtMatmulAlgo_t algorithm;
    const bool fits =
        hex.size() == 16 * std::size(algorithm.data) && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
    require_input(fits, "'", line, "' is no plan of a matrix product");
    for (std::size_t i = 0; i < std::size(algorithm.data); ++i) {
        algorithm.data[i] = std::stoull(hex.substr(16 * i, 16), nullptr, 16);
    }
    return algorithm;
}

cudaDataType_t cuda_type(DType dtype) {
    return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

/// What alignment an address has, as far as the library asks.
std::uint32_t alignment_of(const Tensor& x) {
    const auto address = reinterpret_cast<std::uintptr_t>(x.address);
    return static_cast<std::uint32_t>(std::min<std::uintptr_t>(256, address & (~address + 1)));
}

struct Plan {
    std::string name;  // "gemm 24576 x 1024 x 4096", for profiles
    Description description;
    Layout a, b, d;
    cublasLtMatmulAlgo_t algorithm{};
};

class CublasLt final : public DeviceGemm {
public:
    CublasLt() : workspace_(kDeviceGemmBytes) { check(cublasLtCreate(library_.out()), "cublasLtCreate"); }

    void multiply(const Gemm& arguments, Stream stream) override {
        const Key key = key_of(arguments);
        std::unique_ptr<Plan>& plan = plans_[key];
        if (!plan) {
            auto made = std::make_unique<Plan>();
            describe_product(*made, key);
            choose(*made, key, arguments, stream);
            plan = std::move(made);  // whole, or not at all
        }
        LaunchLog::note(plan->name.c_str(), stream);
        run(*plan, plan->algorithm, arguments, stream);
    }

    std::string library() const override {
        const std::size_t version = cublasLtGetVersion();
        return text("cuBLASLt ", version / 10000, '.', version / 100 % 100, '.', version % 100);
    }

    void set_tuning(bool on) override { tuning_ = on; }

    std::vector<std::string> plans() const override {
        std::vector<std::string> lines;
        for (const auto& [key, plan] : plans_) {
            if (plan) lines.push_back(line_of(key) + " " + hex_of(plan->algorithm));
        }
        return lines;
    }

    void take_plans(const std::vector<std::string>& lines) override {
        for (const std::string& line : lines) {
            const std::size_t end = line.rfind(' ');
            require_input(end != std::string::npos, "'", line, "' is no plan of a matrix product");
            kept_[line.substr(0, end)] = algorithm_of(line.substr(end + 1), line);
        }
        // A plan that this process made before gives way; graphs recorded with it keep it.
        for (auto& [key, plan] : plans_) {
            const auto kept = kept_.find(line_of(key));
            if (plan && kept != kept_.end()) plan->algorithm = kept->second;
        }
    }

private:
    static void describe_product(Plan& plan, const Key& key);
    void choose(Plan& plan, const Key& key, const Gemm& arguments, Stream stream);
    std::vector<cublasLtMatmulAlgo_t> suggestions(const Plan& plan, const Gemm& arguments);
    double seconds_of(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Gemm& arguments, Stream stream);
    void run(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Gemm& arguments, Stream stream);

    Library library_;
    DeviceBuffer workspace_;
    std::map<Key, std::unique_ptr<Plan>> plans_;
    std::map<std::string, cublasLtMatmulAlgo_t> kept_;  // of an earlier process, by line_of()
    bool tuning_ = false;
};

void CublasLt::describe_product(Plan& plan, const Key& key) {
    plan.name = product_name(key.m, key.n, key.k, key.out);
    const auto layout = [](Layout& to, DType dtype, std::int64_t rows, std::int64_t cols, std::int64_t stride) {
        check(cublasLtMatrixLayoutCreate(to.out(), cuda_type(dtype), static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(cols), std::max(stride, rows)),
              "cublasLtMatrixLayoutCreate");
    };
    const cublasOperation_t transposed = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    check(cublasLtMatmulDescCreate(plan.description.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(plan.description, CUBLASLT_MATMUL_DESC_TRANSA, key.transpose_b ? transposed : plain);
    set(plan.description, CUBLASLT_MATMUL_DESC_TRANSB, key.transpose_a ? transposed : plain);
    if (key.bias) {
        set(plan.description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(key.in));
    }
    layout(plan.a, key.in, key.transpose_b ? key.k : key.n, key.transpose_b ? key.n : key.k, key.b_stride);
    layout(plan.b, key.in, key.transpose_a ? key.m : key.k, key.transpose_a ? key.k : key.m, key.a_stride);
    layout(plan.d, key.out, key.n, key.m, key.d_stride);
}

void CublasLt::choose(Plan& plan, const Key& key, const Gemm& arguments, Stream stream) {
    const auto kept = kept_.find(line_of(key));
    if (kept != kept_.end()) {
        plan.algorithm = kept->second;
        return;
    }
    const std::vector<cublasLtMatmulAlgo_t> suggested = suggestions(plan, arguments);
    plan.algorithm = suggested.front();
    if (!tuning_) return;
    double least = std::numeric_limits<double>::infinity();
    for (const cublasLtMatmulAlgo_t& algorithm : suggested) {
        const double seconds = seconds_of(plan, algorithm, arguments, stream);
        if (seconds >= least) continue;
        least = seconds;
        plan.algorithm = algorithm;
    }
}

/// Best first by the library's own judgement, without those whose partial sums meet in an order of their own or are
/// rounded to the type of d.
std::vector<cublasLtMatmulAlgo_t> CublasLt::suggestions(const Plan& plan, const Gemm& arguments) {
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(preference.out()), "cublasLtMatmulPreferenceCreate");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kDeviceGemmBytes));
    set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(arguments.b));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(arguments.a));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(arguments.d));
    set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(arguments.d));
    std::vector<cublasLtMatmulHeuristicResult_t> results(kSuggestions);
    int count = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
        library_, plan.description, plan.a, plan.b, plan.d, plan.d, preference, kSuggestions, results.data(), &count);
    if (status != CUBLAS_STATUS_NOT_SUPPORTED) check(status, "cublasLtMatmulAlgoGetHeuristic");
    results.resize(static_cast<std::size_t>(status == CUBLAS_STATUS_SUCCESS ? count : 0));
    std::vector<cublasLtMatmulAlgo_t> suggested;
    for (const auto& result : results) {
        if (result.state == CUBLAS_STATUS_SUCCESS) suggested.push_back(result.algo);
    }
    require(!suggested.empty(), "gemm: ", library(), " offers nothing for d ", describe(arguments.d), " from a ",
            describe(arguments.a), " and b ", describe(arguments.b));
    return suggested;
}

/// Infinity for a suggestion that does not run after all.
double CublasLt::seconds_of(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Gemm& arguments,
                            Stream stream) {
    try {
        run(plan, algorithm, arguments, stream);
        Event start, end;
        start.record(stream);
        for (int call = 0; call < kTimedCalls; ++call) run(plan, algorithm, arguments, stream);
        end.record(stream);
        end.wait();
        return end.seconds_since(start);
    } catch (const Error&) {
        return std::numeric_limits<double>::infinity();
    }
}

void CublasLt::run(const Plan& plan, const cublasLtMatmulAlgo_t& algorithm, const Gemm& g, Stream stream) {
    const float one = 1, beta = g.accumulate ? 1 : 0;
    if (g.bias) set(plan.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, static_cast<const void*>(g.bias.address));
    check(cublasLtMatmul(library_, plan.description, &one, g.b.address, plan.a, g.a.address, plan.b, &beta, g.d.address,
                         plan.d, g.d.address, plan.d, &algorithm, workspace_.address(),
                         static_cast<std::size_t>(kDeviceGemmBytes), static_cast<cudaStream_t>(stream.handle)),
          "cublasLtMatmul");
}

}  // namespace

std::unique_ptr<DeviceGemm> open_device_gemm() {
    return std::make_unique<CublasLt>();
}

}  // namespace cloze
