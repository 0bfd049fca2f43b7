#include "engine/train/optimizer.h"

namespace cloze {

OptimizerKind optimizer_from(const std::string& name) {
    if (name == "adamw") return OptimizerKind::adamw;
    if (name == "lamb") return OptimizerKind::lamb;
    fail(Fault::usage, "optimizer '", name, "' is unknown; use adamw or lamb");
}

const char* name_of(OptimizerKind kind) {
    return kind == OptimizerKind::adamw ? "adamw" : "lamb";
}

}  // namespace cloze
