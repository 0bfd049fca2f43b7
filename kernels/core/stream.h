// The order in which device work runs. Host ops run at once and ignore it.
#pragma once

namespace cloze {

/// An opaque cudaStream_t; the default is the device's default stream.
struct Stream {
    void* handle = nullptr;
};

}  // namespace cloze
