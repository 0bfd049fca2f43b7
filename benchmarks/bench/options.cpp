#include "benchmarks/bench/options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

#include "kernels/core/error.h"

namespace cloze::bench {

namespace {

double number_of(const std::string& flag, const std::string& value) {
    double number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    require(error == std::errc() && end == value.data() + value.size() && number > 0, flag,
            " needs a number above 0, not ", value);
    return number;
}

DType dtype_of_name(const std::string& name) {
    require(name == "bf16" || name == "f32", "--type is bf16 or f32, not ", name);
    return name == "bf16" ? DType::bf16 : DType::f32;
}

}  // namespace

const char* usage() {
    return R"(cloze-bench [copy|kernels|gemm|all|report] [options]: kernels and products against the roofs of the GPU

  copy      copies from device to device: the roof of memory
  kernels   every kernel at the shapes of BERT-base and BERT-large
  gemm      the matrix products of BERT through cuBLASLt: shapes, passes, epilogues, best of several algorithms
  all       the three (default)
  report    reads --from and writes its table, JSON and picture again, for example with --peers

  --json FILE       the rows, with device, date, commit and command
  --svg FILE        the kernels under the roofs
  --peers FILE      times of other implementations (benchmarks/peers.py), set beside the rows of the same key
  --from FILE       the JSON that report reads
  --filter TEXT     only rows whose key, op/variant/shape/type, contains the text
  --short           print the largest shape of each kernel, and means over the products
  --quick           BERT-large at one size, shorter
  --type bf16|f32   working type of the kernels (default: bf16)
  --seconds S       of timed samples a case (default: 0.15; quick: 0.05)
  --candidates N    algorithms tried for a product (default: 8)
  --sustained S     one large product for S seconds, with clocks, power and temperature once a second
  --commit TEXT     what is noted as the commit, where git is not at hand
  --smoke           tiny sizes, one sample each: for tests

Without a GPU it prints the same tables with bytes, FLOPs and limits, and "not measured". Exit code 1: a case failed.
)";
}

Options parse_options(const std::vector<std::string>& arguments) {
    constexpr std::array<std::string_view, 5> kWhat{"kernels", "gemm", "copy", "all", "report"};
    Options options;
    bool named = false;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& argument = arguments[i];
        const auto value = [&]() -> const std::string& {
            require(i + 1 < arguments.size(), argument, " needs a value");
            return arguments[++i];
        };
        if (argument == "--json") {
            options.json = value();
        } else if (argument == "--svg") {
            options.svg = value();
        } else if (argument == "--peers") {
            options.peers = value();
        } else if (argument == "--from") {
            options.from = value();
        } else if (argument == "--filter") {
            options.filter = value();
        } else if (argument == "--commit") {
            options.commit = value();
        } else if (argument == "--type") {
            options.dtype = dtype_of_name(value());
        } else if (argument == "--seconds") {
            options.seconds = number_of(argument, value());
        } else if (argument == "--sustained") {
            options.sustained = number_of(argument, value());
        } else if (argument == "--candidates") {
            options.candidates = static_cast<int>(number_of(argument, value()));
        } else if (argument == "--quick") {
            options.quick = true;
        } else if (argument == "--short") {
            options.brief = true;
        } else if (argument == "--smoke") {
            options.smoke = true;
        } else if (argument == "--help" || argument == "-h") {
            options.help = true;
        } else {
            const bool known = std::find(kWhat.begin(), kWhat.end(), argument) != kWhat.end();
            require(known && !named, argument, ": not understood; cloze-bench --help lists what is");
            options.what = argument;
            named = true;
        }
    }
    require(options.what != "report" || !options.from.empty(), "report needs --from FILE");
    return options;
}

}  // namespace cloze::bench
