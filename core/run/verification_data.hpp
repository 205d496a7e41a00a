// Inputs for comparing a kernel with the reference: tensors, weights, and whether the two have to be equal
// on them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/plan/problem.hpp"
#include "tandem/reference.hpp"

namespace tandem {

enum class DataKind : std::uint8_t {
    integers,  // numbers so small that every partial sum is exact in f32: the kernel must equal the
               // reference, roundings included
    random,    // about normal, weights scaled by 1/sqrt(fan-in)
};
const char* to_string(DataKind kind) noexcept;

/// Tensors are given as ReferenceArgs wants them: numbers of their data types, in floats.
struct VerificationData {
    struct Weights {
        std::vector<float> weights, bias, prelu, scale;
        std::vector<std::int8_t> quantized_weights{};
        std::vector<float> weight_scales{};
        Quantization output{}, residual{};
        StageWeights view() const noexcept {
            return {weights, bias, prelu, scale, quantized_weights, weight_scales, output, residual};
        }
    };

    std::vector<float>
        input;  // as the problem's view has it; padding channels and gaps are NaN, or any integers
    Quantization input_quantization{};
    std::array<std::vector<float>, max_stages> residual;  // like the input
    std::array<Weights, max_stages> stages;
    std::vector<float> input_factors{};  // [n][c]; empty where the problem has none
    bool exact = false;                  // results have to equal the reference
    bool exact_intermediate = false;     // whatever the last stage's post-ops are, the intermediates have to

    std::vector<StageWeights> views(int stage_count) const;
    /// What stage i's input stands for.
    const Quantization& input_of(int i) const noexcept {
        return i == 0 ? input_quantization : stages[static_cast<std::size_t>(i - 1)].output;
    }
    /// For the reference: `stages` are views() of it.
    ReferenceArgs reference_args(std::span<const StageWeights> stages) const noexcept;
};

/// Deterministic in (problem, kind, seed). Asked for integers, it makes random data all the same where a
/// stage before the last has an inexact post-op, as nothing after that would be exact.
///
/// Quantised problems get integers over the whole range of their types in either case, and scales with
/// which outputs are spread over theirs; DataKind::integers makes half of them the lowest or the highest
/// number there is, where arithmetic that saturates would show. Results are exact unless a post-op is
/// transcendental.
VerificationData make_verification_data(const Problem& problem, DataKind kind, std::uint64_t seed);

/// Products that are added up for one output.
std::int64_t fan_in(const Stage& stage) noexcept;

}  // namespace tandem
