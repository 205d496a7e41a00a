// Small chains of every kind, and calls of their kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/tandem.hpp"

namespace tandem::test {

/// Takes milliseconds to compile and run, all together.
const std::vector<std::string>& chains_of_all_kinds();

/// Plain weights of small integers for a chain.
class SmallWeights {
public:
    explicit SmallWeights(const ConvChain& chain);
    /// Refers to this object.
    std::span<const StageWeights> stages() const noexcept { return stages_; }

private:
    struct Stage {
        std::vector<float> weights, per_channel;
        std::vector<std::int8_t> quantized;
    };
    void add(const ConvChain& chain, const Conv& conv, std::int64_t inputs, std::int64_t outputs);

    std::vector<std::unique_ptr<const Stage>> plain_;
    std::vector<StageWeights> stages_;
};

/// Tensors and packed weights of one kernel: small integers that depend on nothing but the shape.
class SmallCall {
public:
    SmallCall(const Kernel& kernel, const ConvChain& chain);
    /// Of this object's tensors.
    Args args() noexcept;
    std::span<const std::byte> output() const noexcept { return output_; }

private:
    PackedWeights weights_;
    std::vector<std::byte> input_, output_;
    std::vector<std::vector<std::byte>> residuals_;
};

}  // namespace tandem::test
