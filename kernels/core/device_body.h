// Which body device code has in this build. An op asks before it calls its device code:
//
//   if (place == Place::device) {
//       if constexpr (kHasDevice) return device_code::bias_gelu_forward(arguments, stream);
//       fail_without_device("bias_gelu_forward");
//   }
//
// Only sources of the kernels' own libraries may include this: one of them is built per body, everything above them
// once.
#pragma once

namespace cloze {

enum class DeviceBody { none, cuda, emulated };

#if defined(CLOZE_CUDA)
inline constexpr DeviceBody kDeviceBody = DeviceBody::cuda;
#elif defined(CLOZE_EMULATED)
inline constexpr DeviceBody kDeviceBody = DeviceBody::emulated;
#else
inline constexpr DeviceBody kDeviceBody = DeviceBody::none;
#endif

inline constexpr bool kHasDevice = kDeviceBody != DeviceBody::none;

/// Whether kernels that need compute capability 9.0 and no other are among them: where it is built for sm_90a.
#if defined(CLOZE_SM_90A) || defined(CLOZE_EMULATED)
inline constexpr bool kHasHopper = true;
#else
inline constexpr bool kHasHopper = false;
#endif

}  // namespace cloze
