// Mutants: planted defects of device code (tests/mutants/list), all in one executable, all asleep but the one that the
// environment names. In front of each file of mutated device code (-include).
#pragma once

namespace cloze {

/// True if CLOZE_MUTANT names mutant `number`. Constant for the life of the process, so calls may leave loops.
[[gnu::const]] bool mutant_is(int number);

/// What an atomic counter of the device would hand out: how many calls came before, which the schedule decides.
int ticket();

// Written by plant.py from the lists.
extern const char* const kMutantNames[];
extern const int kMutants;

}  // namespace cloze
