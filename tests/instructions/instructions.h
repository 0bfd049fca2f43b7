// Every instruction and function of kernels/device/ as a kernel of one shape, so that its outputs can be recorded on a
// GPU and compared with what the host emulator computes from the same inputs. Tested by
// tests/instructions/instructions_test.cpp.
//
// A case is one block. Its inputs are words that tests/instructions/inputs.h makes from the name of the instruction and
// the number of the case, so they need not be stored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/core/tensor_map.h"
#include "tests/instructions/inputs.h"

namespace cloze::instructions {

/// How outputs are stored and compared.
enum class Outputs {
    exact,     // the same bits on every device: a hash of each case
    function,  // an approximate function of each input word: all results, within the error that kernels/device/math.h
               // states
    product,   // mma_m16n8k16: all results, within a fraction of the sum of the products' magnitudes
    tall_product,  // the same of wgmma
};

using Kernel = void (*)(std::uint32_t* outputs, const std::uint32_t* inputs);
using MappedKernel = void (*)(std::uint32_t* outputs, const std::uint32_t* inputs, TensorMap map);

/// The inputs of all cases as a matrix of bf16, which the copy engine walks.
struct Boxes {
    int case_rows, cols;
    int box_rows, box_cols;
};

struct Instruction {
    std::string name;
    Kernel kernel = nullptr;
    MappedKernel mapped_kernel = nullptr;  // instead of the other
    Boxes boxes = {};
    int input_words;  // of a case
    int output_words;
    InputRule inputs = any_bits;
    Outputs outputs = Outputs::exact;
    int cases = 1024;
    int threads = 32;
    int shared_bytes = 0;
    int cluster = 1;
    int compute_capability = 80;  // the oldest that has it
    bool newer_have_it = true;
    bool is_on(int capability) const {
        return capability == compute_capability || (capability > compute_capability && newer_have_it);
    }
};

std::vector<Instruction> data_movement();  // moves.cu
std::vector<Instruction> between_lanes();  // lanes.cu
std::vector<Instruction> arithmetic();     // arithmetic.cu
std::vector<Instruction> of_hopper();      // hopper.cu

std::vector<Instruction> every_instruction();

/// The inputs of all cases, one after the other.
std::vector<std::uint32_t> inputs_of(const Instruction& instruction);

/// The outputs of all cases on the device of this build: a GPU or the emulator.
std::vector<std::uint32_t> run(const Instruction& instruction, const std::vector<std::uint32_t>& inputs);

}  // namespace cloze::instructions
