#include <algorithm>
#include <tuple>

#include "benchmarks/bench/case.h"

namespace cloze::bench {

std::vector<Case> kernel_cases(const CaseSettings& settings) {
    std::vector<Case> cases;
    for (const auto& part : {activation_cases(settings), attention_cases(settings), head_cases(settings),
                             norm_cases(settings), update_cases(settings)}) {
        cases.insert(cases.end(), part.begin(), part.end());
    }
    std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) {
        return std::tie(a.op, a.variant) < std::tie(b.op, b.variant);
    });
    return cases;
}

}  // namespace cloze::bench
