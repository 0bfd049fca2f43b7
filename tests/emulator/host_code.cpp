#include "tests/emulator/host_code.h"

#include <thread>

namespace cloze::test {

float read_in_host_code(const float& value) {
    return read_inline(value);
}

void run_beside(void (*body)()) {
    std::thread(body).join();
}

}  // namespace cloze::test
