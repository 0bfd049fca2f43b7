#include "tools/device_choice.h"

#include "engine/files/system_calls.h"

namespace cloze {

void require_device(const std::string& device) {
    if (device == "cuda") {
        fail(Fault::device, "--device cuda: in this version the engine trains on the CPU; use --device cpu or auto");
    }
    require(device == "auto" || device == "cpu", "--device '", device, "' is unknown; use auto, cpu or cuda");
}

}  // namespace cloze
