#include "tests/mutants/mutant.h"

#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace cloze {

namespace {

constexpr int kNone = -1;

int number_of(const char* name) {
    if (name == nullptr) return kNone;
    for (int i = 0; i < kMutants; ++i) {
        if (std::string_view(name) == kMutantNames[i]) return i;
    }
    std::fprintf(stderr, "CLOZE_MUTANT: there is no mutant \"%s\" in this executable\n", name);
    std::exit(2);
}

const int selected = number_of(std::getenv("CLOZE_MUTANT"));

}  // namespace

bool mutant_is(int number) {
    return number == selected;
}

int ticket() {
    static int given = 0;
    return given++;
}

}  // namespace cloze
