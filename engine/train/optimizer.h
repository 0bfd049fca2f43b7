// The optimizer's recipe as a user states it. The arithmetic is kernels/optimizer_update.h.
#pragma once

#include <string>

#include "engine/train/schedule.h"
#include "kernels/optimizer_update.h"

namespace cloze {

/// Defaults: Google's pretraining recipe with bias correction, so that small runs are stable.
struct OptimizerRecipe {
    OptimizerKind kind = OptimizerKind::adamw;
    double beta1 = 0.9;
    double beta2 = 0.999;
    double epsilon = 1e-6;
    double weight_decay = 0.01;    // not on biases and LayerNorm
    bool bias_correction = true;   // Google's code has none
    double max_gradient_norm = 1;  // 0: no clipping
    Schedule schedule{};
};

/// "adamw" or "lamb"; throws Fault::usage for another name.
OptimizerKind optimizer_from(const std::string& name);
const char* name_of(OptimizerKind kind);

}  // namespace cloze
