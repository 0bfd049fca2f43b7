// launch(): the only way a kernel starts. Checked: a launch that fails throws Fault::device with the op, the place and
// CUDA's reason. What goes wrong inside a kernel surfaces at the next wait().
//
//   launch("cast", cast_kernel<bf16>, {.grid = {.x = blocks}, .threads = 256}, stream, y, x, count);
//
// In the emulator each launch runs at once, to the end (tests/emulator). Tested by every kernel, and with impossible
// shapes by tests/kernels/device/vocabulary_test.cu.
#pragma once

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/launch_log.h"
#include "kernels/core/stream.h"

#ifdef __CUDACC__
#include "kernels/core/cuda_check.h"
#else
#include "kernels/core/emulated_grid.h"
#endif

namespace cloze {

/// Blocks. Zero of them launch nothing.
struct Grid {
    std::int64_t x = 1;  // up to 2^31 - 1
    std::int64_t y = 1;  // up to 65,535
};

struct LaunchShape {
    Grid grid;
    int threads;                // of a block: a multiple of 32, up to 1,024
    int shared_bytes = 0;       // of the arena, see kernels/device/shared.h
    int cluster = 1;            // blocks along x that share distributed memory (compute capability 9.0)
    bool programmatic = false;  // may start before the previous kernel of the stream has ended; it waits for it itself
};

/// The op a launch belongs to, and the line it stands on.
struct LaunchName {
    const char* op;
    Where where;
    LaunchName(const char* name, Where w = Where::here()) : op(name), where(w) {}
};

namespace detail {

inline void require_launch_shape(const LaunchName& name, const LaunchShape& shape) {
    require(shape.grid.x <= 0x7fffffff && shape.grid.y <= 65535 && shape.threads >= 32 && shape.threads <= 1024 &&
                shape.threads % 32 == 0 && shape.shared_bytes >= 0 && shape.cluster >= 1 && shape.cluster <= 8,
            name.op, ": a launch of ", shape.grid.x, " x ", shape.grid.y, " blocks of ", shape.threads,
            " threads with ", shape.shared_bytes, " bytes of shared memory in clusters of ", shape.cluster,
            " is impossible, at ", name.where.file, ":", name.where.line);
}

}  // namespace detail

#ifdef __CUDACC__

namespace detail {

/// True where the kernel was compiled with the instruction that waits for the one before: not for sm_80, nor where the
/// driver compiles the code for that.
inline bool waits_by_itself(const LaunchName& name, const void* kernel) {
    cudaFuncAttributes attributes = {};
    check(cudaFuncGetAttributes(&attributes, kernel), name.op, name.where);
    return attributes.ptxVersion >= 90;
}

}  // namespace detail

template <typename... Parameters, typename... Arguments>
void launch(LaunchName name, void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream,
            Arguments&&... arguments) {
    detail::require_launch_shape(name, shape);
    if (shape.grid.x == 0 || shape.grid.y == 0) return;
    LaunchLog::note(name.op, stream);
    constexpr int kSharedBytesWithoutAsking = 48 * 1024;
    if (shape.shared_bytes > kSharedBytesWithoutAsking) {
        check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   shape.shared_bytes),
              name.op, name.where);
    }
    cudaLaunchAttribute attributes[2] = {};
    unsigned count = 0;
    if (shape.cluster > 1) {
        attributes[count].id = cudaLaunchAttributeClusterDimension;
        attributes[count].val.clusterDim = {static_cast<unsigned>(shape.cluster), 1, 1};
        ++count;
    }
    if (shape.programmatic && detail::waits_by_itself(name, reinterpret_cast<const void*>(kernel))) {
        attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attributes[count].val.programmaticStreamSerializationAllowed = 1;
        ++count;
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(shape.grid.x), static_cast<unsigned>(shape.grid.y));
    config.blockDim = dim3(static_cast<unsigned>(shape.threads));
    config.dynamicSmemBytes = static_cast<std::size_t>(shape.shared_bytes);
    config.stream = static_cast<cudaStream_t>(stream.handle);
    config.attrs = attributes;
    config.numAttrs = count;
    check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(std::forward<Arguments>(arguments))...), name.op,
          name.where);
}

#else

template <typename... Parameters, typename... Arguments>
void launch(LaunchName name, void (*kernel)(Parameters...), const LaunchShape& shape, Stream stream,
            Arguments&&... arguments) {
    detail::require_launch_shape(name, shape);
    LaunchLog::note(name.op, stream);
    struct Call {
        void (*kernel)(Parameters...);
        std::tuple<std::remove_const_t<Parameters>...> arguments;
    } call{kernel, {static_cast<Parameters>(std::forward<Arguments>(arguments))...}};
    emulated::run_grid({.op = name.op,
                        .file = name.where.file,
                        .line = name.where.line,
                        .stream = stream,
                        .blocks_x = shape.grid.x,
                        .blocks_y = shape.grid.y,
                        .threads = shape.threads,
                        .shared_bytes = shape.shared_bytes,
                        .cluster = shape.cluster,
                        .programmatic = shape.programmatic,
                        .call =
                            [](const void* call) {
                                const Call& c = *static_cast<const Call*>(call);
                                std::apply(c.kernel, c.arguments);
                            },
                        .arguments = &call,
                        .arguments_bytes = sizeof call});
}

#endif

}  // namespace cloze
