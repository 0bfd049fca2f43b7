// The matrix products through cuBLASLt. It thinks in columns: a row-major [rows, cols] matrix is to it a column-major
// [cols, rows] one with leading dimension cols. So each product is given transposed, D^T = B^T A^T, and the operands
// change places. In its terms (D is m x n, summed over k; "T" = as transposed by the operation):
//
//   forward  y[t, o] = x[t, i] w[o, i]^T    m = o, n = t, k = i    A = w "T" [i, o]    B = x [i, t]
//   dgrad    dx[t, i] = dy[t, o] w[o, i]    m = i, n = t, k = o    A = w [i, o]        B = dy [o, t]
//   wgrad    dw[o, i] = dy[t, o]^T x[t, i]  m = i, n = o, k = t    A = x [i, t]        B = dy "T" [o, t]
//
// A bias and the column sums of dgelu lie along m: outputs of forward, inputs of dgrad. The sums of dy in wgrad lie
// along n, so they are those of B.
//
// Operands are views into large pools of random numbers, at places that take turns.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "benchmarks/bench/facts.h"
#include "benchmarks/bench/gemm.h"
#include "engine/device/cublaslt.h"

namespace cloze::bench {

namespace {

constexpr std::int64_t kPoolBytes = 1'280'000'000;  // two of the largest operand, 9,832 x 30,528 in bf16
constexpr std::int64_t kWorkspaceBytes = 64 << 20;
constexpr std::int64_t kLongestBias = 1 << 16;
constexpr std::int64_t kAlignment = 256;
constexpr int kBriefSamples = 3;

using namespace cublaslt;

/// A product in cuBLASLt's terms, see above.
struct Shape {
    std::int64_t m, n, k;
    bool transpose_a, transpose_b;

    std::int64_t a_rows() const { return transpose_a ? k : m; }
    std::int64_t a_cols() const { return transpose_a ? m : k; }
    std::int64_t b_rows() const { return transpose_b ? n : k; }
    std::int64_t b_cols() const { return transpose_b ? k : n; }
};

Shape shape_of(const Product& p) {
    switch (p.pass) {
        case Pass::forward: return {p.outputs, p.tokens, p.inputs, true, false};
        case Pass::dgrad: return {p.inputs, p.tokens, p.outputs, false, false};
        case Pass::wgrad: return {p.inputs, p.outputs, p.tokens, false, true};
    }
    return {};
}

cublasLtEpilogue_t epilogue_of(Epilogue epilogue) {
    switch (epilogue) {
        case Epilogue::none: return CUBLASLT_EPILOGUE_DEFAULT;
        case Epilogue::bias: return CUBLASLT_EPILOGUE_BIAS;
        case Epilogue::gelu_aux: return CUBLASLT_EPILOGUE_GELU_AUX_BIAS;
        case Epilogue::dgelu_bgrad: return CUBLASLT_EPILOGUE_DGELU_BGRAD;
        case Epilogue::bgrad: return CUBLASLT_EPILOGUE_BGRADB;
    }
    return CUBLASLT_EPILOGUE_DEFAULT;
}

/// Views of a pool that take turns.
class Pool {
public:
    Pool(DeviceSet& set, std::int64_t bytes) : pool_(set.random(DType::bf16, bytes / 2)), bytes_(bytes) {}

    std::int64_t places(std::int64_t bytes) const { return bytes_ / step(bytes); }
    void* at(std::int64_t place, std::int64_t bytes) const {
        return static_cast<char*>(pool_.address) + place % places(bytes) * step(bytes);
    }

private:
    static std::int64_t step(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

    Tensor pool_;
    std::int64_t bytes_;
};

std::string name_of(const cublasLtMatmulAlgo_t& algorithm) {
    const auto value = [&](cublasLtMatmulAlgoConfigAttributes_t attribute, auto number) {
        std::size_t written = 0;
        const cublasStatus_t status =
            cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &number, sizeof number, &written);
        if (status != CUBLAS_STATUS_SUCCESS) return std::int64_t{-1};
        return static_cast<std::int64_t>(number);
    };
    return text("id ", value(CUBLASLT_ALGO_CONFIG_ID, std::int32_t{}), ", tile ",
                value(CUBLASLT_ALGO_CONFIG_TILE_ID, std::uint32_t{}), ", stages ",
                value(CUBLASLT_ALGO_CONFIG_STAGES_ID, std::uint32_t{}), ", cluster ",
                value(CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID, std::uint16_t{}), ", split-k ",
                value(CUBLASLT_ALGO_CONFIG_SPLITK_NUM, std::uint32_t{}));
}

/// Asks nvidia-smi once a second, beside the work.
class StateSampler {
public:
    StateSampler() : thread_([this] { run(); }) {}
    ~StateSampler() {
        {
            const std::lock_guard lock(mutex_);
            stopped_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    std::string latest() {
        const std::lock_guard lock(mutex_);
        return latest_;
    }

private:
    void run() {
        std::unique_lock lock(mutex_);
        while (!stopped_) {
            lock.unlock();
            const std::string state = first_line_of(
                "nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu --format=csv,noheader --id=0");
            lock.lock();
            latest_ = state.empty() ? "nvidia-smi does not answer" : state;
            changed_.wait_for(lock, std::chrono::seconds(1), [this] { return stopped_; });
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::string latest_ = "not known yet";
    bool stopped_ = false;
    std::thread thread_;
};

class CublasLt final : public ProductLibrary {
public:
    CublasLt(Runner& runner, int candidates)
        : runner_(runner),
          candidates_(candidates),
          buffers_(runner.normals(), runner.stopwatch().stream()),
          a_(buffers_, kPoolBytes),
          b_(buffers_, kPoolBytes),
          d_(buffers_, kPoolBytes),
          aux_(buffers_, kPoolBytes),
          bias_(buffers_.random(DType::bf16, kLongestBias)),
          dbias_(buffers_.output(DType::f32, kLongestBias)),
          workspace_(buffers_.output(DType::u8, kWorkspaceBytes)) {
        check(cublasLtCreate(library_.out()), "cublasLtCreate");
    }

    std::optional<BestAlgorithm> time(const Product& product) override;
    std::vector<SustainedSecond> sustain(const Product& product, double seconds) override;

private:
    struct Prepared;

    void prepare(Prepared& prepared, const Product& product);
    /// The algorithms the library suggests, best first by its own judgement.
    std::vector<cublasLtMatmulHeuristicResult_t> suggestions(const Prepared& prepared);
    void run(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm, std::int64_t place, Stream stream);
    /// The fastest suggestion, timed briefly; -1 where there is none.
    int fastest(const Prepared& prepared, const std::vector<cublasLtMatmulHeuristicResult_t>& suggested);
    Work work(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm);

    Runner& runner_;
    int candidates_;
    Library library_;
    DeviceSet buffers_;
    Pool a_, b_, d_, aux_;
    Tensor bias_, dbias_, workspace_;
};

/// A product with its descriptions.
struct CublasLt::Prepared {
    Description description;
    Layout a, b, d;
    std::int64_t a_bytes, b_bytes, d_bytes, aux_bytes;
    std::int64_t sets;
    bool accumulate;
    bool keeps;  // reads or writes what gelu was given
};

void CublasLt::prepare(Prepared& prepared, const Product& product) {
    const Shape s = shape_of(product);
    const cublasOperation_t transposed = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const cudaDataType_t output = product.f32_output ? CUDA_R_32F : CUDA_R_16BF;
    check(cublasLtMatmulDescCreate(prepared.description.out(), CUBLAS_COMPUTE_32F, CUDA_R_32F),
          "cublasLtMatmulDescCreate");
    set(prepared.description, CUBLASLT_MATMUL_DESC_TRANSA, s.transpose_a ? transposed : plain);
    set(prepared.description, CUBLASLT_MATMUL_DESC_TRANSB, s.transpose_b ? transposed : plain);
    set(prepared.description, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(product.epilogue));
    const auto layout = [](Layout& to, cudaDataType_t type, std::int64_t rows, std::int64_t cols) {
        check(cublasLtMatrixLayoutCreate(to.out(), type, static_cast<std::uint64_t>(rows),
                                         static_cast<std::uint64_t>(cols), rows),
              "cublasLtMatrixLayoutCreate");
    };
    layout(prepared.a, CUDA_R_16BF, s.a_rows(), s.a_cols());
    layout(prepared.b, CUDA_R_16BF, s.b_rows(), s.b_cols());
    layout(prepared.d, output, s.m, s.n);
    prepared.a_bytes = 2 * s.m * s.k;
    prepared.b_bytes = 2 * s.k * s.n;
    prepared.d_bytes = (product.f32_output ? 4 : 2) * s.m * s.n;
    prepared.aux_bytes = 2 * s.m * s.n;
    prepared.accumulate = product.accumulate;
    prepared.keeps = product.epilogue == Epilogue::gelu_aux || product.epilogue == Epilogue::dgelu_bgrad;
    const bool adds_bias = product.epilogue == Epilogue::bias || product.epilogue == Epilogue::gelu_aux;
    require(std::max({prepared.a_bytes, prepared.b_bytes, prepared.d_bytes, prepared.aux_bytes}) <= kPoolBytes &&
                std::max(s.m, s.n) <= kLongestBias,
            "gemm: ", product.tokens, " x ", product.outputs, " x ", product.inputs, " is too large for the buffers");
    if (product.epilogue != Epilogue::none) {
        set(prepared.description, CUBLASLT_MATMUL_DESC_BIAS_POINTER, adds_bias ? bias_.address : dbias_.address);
    }
    if (prepared.keeps) {
        set(prepared.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux_.at(0, prepared.aux_bytes));
        set(prepared.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, s.m);
    }
    const std::int64_t moved = prepared.a_bytes + prepared.b_bytes + prepared.d_bytes;
    prepared.sets = std::clamp<std::int64_t>((runner_.settings().rotation_bytes + moved - 1) / moved, 2, 64);
}

std::vector<cublasLtMatmulHeuristicResult_t> CublasLt::suggestions(const Prepared& prepared) {
    Preference preference;
    check(cublasLtMatmulPreferenceCreate(preference.out()), "cublasLtMatmulPreferenceCreate");
    set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(kWorkspaceBytes));
    std::vector<cublasLtMatmulHeuristicResult_t> suggested(static_cast<std::size_t>(candidates_));
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(library_, prepared.description, prepared.a, prepared.b, prepared.d, prepared.d,
                                       preference, candidates_, suggested.data(), &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    suggested.resize(static_cast<std::size_t>(count));
    std::erase_if(suggested, [](const auto& result) { return result.state != CUBLAS_STATUS_SUCCESS; });
    return suggested;
}

void CublasLt::run(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm, std::int64_t place, Stream stream) {
    const float one = 1, beta = prepared.accumulate ? 1 : 0;
    void* d = d_.at(place, prepared.d_bytes);
    if (prepared.keeps) {
        set(prepared.description, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, aux_.at(place, prepared.aux_bytes));
    }
    check(cublasLtMatmul(library_, prepared.description, &one, a_.at(place, prepared.a_bytes), prepared.a,
                         b_.at(place, prepared.b_bytes), prepared.b, &beta, d, prepared.d, d, prepared.d, &algorithm,
                         workspace_.address, static_cast<std::size_t>(kWorkspaceBytes),
                         static_cast<cudaStream_t>(stream.handle)),
          "cublasLtMatmul");
}

Work CublasLt::work(const Prepared& prepared, const cublasLtMatmulAlgo_t& algorithm) {
    return {.sets = prepared.sets, .call = [this, &prepared, &algorithm](std::int64_t place, Stream stream) {
                run(prepared, algorithm, place, stream);
            }};
}

int CublasLt::fastest(const Prepared& prepared, const std::vector<cublasLtMatmulHeuristicResult_t>& suggested) {
    int best = -1;
    double least = 0;
    std::string refused;
    for (std::size_t i = 0; i < suggested.size(); ++i) {
        try {
            const double seconds =
                runner_.stopwatch().time_briefly(work(prepared, suggested[i].algo), kBriefSamples).median;
            if (best >= 0 && seconds >= least) continue;
            best = static_cast<int>(i);
            least = seconds;
        } catch (const Error& error) {  // a suggestion may not run after all
            refused = error.what();
        }
    }
    if (best < 0 && !refused.empty()) fail(Fault::device, "no suggestion of cuBLASLt runs: ", refused);
    return best;
}

std::optional<BestAlgorithm> CublasLt::time(const Product& product) {
    Prepared prepared;
    prepare(prepared, product);
    const auto suggested = suggestions(prepared);
    const int best = fastest(prepared, suggested);
    if (best < 0) return std::nullopt;
    const cublasLtMatmulAlgo_t& algorithm = suggested[static_cast<std::size_t>(best)].algo;
    Effort effort = runner_.settings().effort;
    effort.seconds /= 3;  // there are many products, and they vary little
    return BestAlgorithm{.timing = runner_.stopwatch().time(work(prepared, algorithm), effort),
                         .algorithm = text(name_of(algorithm), "; suggestion ", best + 1, " of ", suggested.size())};
}

// Batches of about a tenth of a second; one is always waiting while another runs, so that the device never idles.
std::vector<SustainedSecond> CublasLt::sustain(const Product& product, double seconds) {
    constexpr double kBatchSeconds = 0.1;
    Prepared prepared;
    prepare(prepared, product);
    const auto suggested = suggestions(prepared);
    const int best = fastest(prepared, suggested);
    if (best < 0) fail(Fault::device, "cuBLASLt offers no algorithm for the sustained product");
    const Work repeated = work(prepared, suggested[static_cast<std::size_t>(best)].algo);
    const double once = runner_.stopwatch().time_briefly(repeated, kBriefSamples).median;
    const int calls = std::max(1, static_cast<int>(std::lround(kBatchSeconds / once)));
    const Stream stream = runner_.stopwatch().stream();

    StateSampler sampler;
    std::vector<SustainedSecond> result;
    std::array<Event, 3> marks;  // ends of batches, by turns
    std::int64_t place = 0;
    double elapsed = 0, reported = 0;
    double flops = 0;
    marks[0].record(stream);
    for (std::size_t batch = 0; elapsed < seconds; ++batch) {
        for (int call = 0; call < calls; ++call) repeated.call(place++ % repeated.sets, stream);
        marks[(batch + 1) % 3].record(stream);
        if (batch == 0) continue;
        const Event& end_of_previous = marks[batch % 3];
        end_of_previous.wait();
        elapsed += end_of_previous.seconds_since(marks[(batch + 2) % 3]);
        flops += product.flops() * calls;
        if (elapsed - reported >= 1) {
            result.push_back({elapsed, flops / (elapsed - reported), sampler.latest()});
            reported = elapsed;
            flops = 0;
        }
    }
    cloze::wait(stream);
    return result;
}

}  // namespace

std::unique_ptr<ProductLibrary> open_cublaslt(Runner& runner, int candidates) {
    return std::make_unique<CublasLt>(runner, candidates);
}

}  // namespace cloze::bench
