// Element types, and the one place where a run-time type becomes a compile-time type.
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/core/bf16.h"
#include "kernels/core/error.h"

namespace cloze {

enum class DType : std::uint8_t { f64, f32, bf16, u64, i64, u32, i32, u16, u8 };

template <typename T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, double>)
        return DType::f64;
    else if constexpr (std::is_same_v<T, float>)
        return DType::f32;
    else if constexpr (std::is_same_v<T, bf16>)
        return DType::bf16;
    else if constexpr (std::is_same_v<T, std::uint64_t>)
        return DType::u64;
    else if constexpr (std::is_same_v<T, std::int64_t>)
        return DType::i64;
    else if constexpr (std::is_same_v<T, std::uint32_t>)
        return DType::u32;
    else if constexpr (std::is_same_v<T, std::int32_t>)
        return DType::i32;
    else if constexpr (std::is_same_v<T, std::uint16_t>)
        return DType::u16;
    else {
        static_assert(std::is_same_v<T, std::uint8_t>, "not an element type");
        return DType::u8;
    }
}

constexpr std::int64_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f64:
        case DType::u64:
        case DType::i64: return 8;
        case DType::f32:
        case DType::u32:
        case DType::i32: return 4;
        case DType::bf16:
        case DType::u16: return 2;
        case DType::u8: return 1;
    }
    return 0;
}

constexpr const char* name_of(DType dtype) {
    switch (dtype) {
        case DType::f64: return "f64";
        case DType::f32: return "f32";
        case DType::bf16: return "bf16";
        case DType::u64: return "u64";
        case DType::i64: return "i64";
        case DType::u32: return "u32";
        case DType::i32: return "i32";
        case DType::u16: return "u16";
        case DType::u8: return "u8";
    }
    return "?";
}

constexpr bool is_floating(DType dtype) {
    return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::bf16;
}

/// The type statistics, sums and losses are kept in when the working type is `dtype`: f64 for f64, else f32.
constexpr DType statistics_dtype(DType dtype) {
    return dtype == DType::f64 ? DType::f64 : DType::f32;
}

/// Arithmetic type of a storage type: double for double, float for float and bf16.
template <typename Storage>
using Arithmetic = std::conditional_t<std::is_same_v<Storage, double>, double, float>;

/// Calls body.operator()<T>() with the C++ type of a floating working type.
template <typename Body>
decltype(auto) visit_float(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::f64: return std::forward<Body>(body).template operator()<double>();
        case DType::f32: return std::forward<Body>(body).template operator()<float>();
        case DType::bf16: return std::forward<Body>(body).template operator()<bf16>();
        default: fail(Fault::internal, "visit_float: ", name_of(dtype), " is not a floating type");
    }
}

}  // namespace cloze
