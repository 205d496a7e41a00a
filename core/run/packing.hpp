// Packing: plain weights into the panels that a plan's code reads (core/plan/panel.hpp), once.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>

#include "core/plan/panel.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

/// 64-byte aligned bytes, zeroed.
class AlignedBuffer {
public:
    AlignedBuffer() = default;
    static Result<AlignedBuffer> create(std::size_t bytes);
    std::byte* data() const noexcept { return data_.get(); }
    std::size_t size() const noexcept { return size_; }

private:
    struct Free {
        void operator()(std::byte* p) const noexcept;
    };
    std::unique_ptr<std::byte, Free> data_;
    std::size_t size_ = 0;
};

/// The panels of all stages of a problem, and what they were packed for.
struct PackedData {
    AlignedBuffer buffer;
    std::array<std::size_t, max_stages> panel_offset{};
    std::array<std::uint8_t, max_stages>
        fill{};                 // the byte that stands for zero in what each stage reads in scratch, for AMX
    std::size_t signature = 0;  // pack_signature() of problem and plan
};

/// Equal for two (problem, plan) exactly when the same packed weights serve both (up to hash collisions).
std::size_t pack_signature(const Problem& problem, const Plan& plan);

/// Checks every span's size and packs. Errors name the stage and the span.
Result<PackedData> pack_weights(const Problem& problem, const Plan& plan,
                                std::span<const StageWeights> stages);

}  // namespace tandem
