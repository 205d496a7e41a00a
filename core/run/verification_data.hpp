// Inputs for comparing a kernel with the reference: tensors, weights, and how closely the two have to agree on them.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/plan/problem.hpp"
#include "tandem/kernel.hpp"

namespace tandem {

enum class DataKind : std::uint8_t {
    integers,  // small ones: every partial sum is exact in f32, so the kernel must equal the reference
    random,    // about normal, weights scaled by 1/sqrt(fan-in)
};
const char* to_string(DataKind kind) noexcept;

struct VerificationData {
    struct Weights {
        std::vector<float> weights, bias, prelu, scale;
        StageWeights view() const noexcept { return {weights, bias, prelu, scale}; }
    };

    std::vector<float> input;                       // in the problem's layout; padding channels are NaN
    std::array<std::vector<float>, 2> residual;     // likewise
    std::array<Weights, max_stages> stages;
    bool exact = false;      // results have to equal the reference
    double tolerance = 0;    // otherwise |y - ref| <= tolerance + 1e-5 max|ref|
};

/// Deterministic in (problem, kind, seed). Asked for integers, it makes random data all the same where a stage before the last
/// has an inexact post-op, as nothing after that would be exact.
VerificationData make_verification_data(const Problem& problem, DataKind kind, std::uint64_t seed);

/// True where the post-op maps the integers of DataKind::integers to integers.
bool exact_on_integers(const PostOp& op) noexcept;

}  // namespace tandem
