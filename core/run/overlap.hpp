// Whether tensors share memory: parts of one larger tensor may lie beside each other though the bytes
// between the first and the last of each do not.
#pragma once

#include <cstdint>

#include "core/plan/problem.hpp"

namespace tandem {

/// A tensor somewhere in memory. Its view has every stride filled in.
struct PlacedTensor {
    const void* data = nullptr;
    TensorShape shape{};
    TensorView view{};
    DataType dtype = DataType::f32;

    std::uintptr_t begin() const noexcept { return reinterpret_cast<std::uintptr_t>(data); }
    /// From the first to the last, gaps included.
    std::uintptr_t bytes() const noexcept;
};

enum class Overlap : std::uint8_t {
    none,
    possible,  // the tensors' strides differ, and nothing shows that they pass each other
    certain,
};

/// Exact where the strides of both are the same in bytes, but for dimensions of which one has just one. Does
/// not allocate, and takes no time where the ranges of bytes are apart.
Overlap overlap(const PlacedTensor& a, const PlacedTensor& b) noexcept;

}  // namespace tandem
