#include "core/plan/strassen.hpp"

#include <algorithm>

#include "core/plan/ceil_div.hpp"
#include "core/plan/k_blocks.hpp"

namespace tandem {

bool strassen_applies(const Problem& problem, Isa isa, int i) noexcept {
    constexpr std::int64_t two_blocks = 32, least_channels = 128;
    const Stage& s = problem.stage(i);
    const bool blocks_fit = problem.layout != Layout::nchw16c || vector_lanes(isa, problem.layout) == 16;
    const bool all_or_no_residual = s.residual_channels() == 0 || s.residual_channels() == s.out_channels;
    return problem.math != Math::strict && problem.dtype == DataType::f32 && i == problem.stage_count - 1 &&
           s.pointwise() && s.out_h % 2 == 0 && blocks_fit && all_or_no_residual &&
           !problem.reads_planes(i) && !problem.writes_planes() && s.in_channels % two_blocks == 0 &&
           s.out_channels % two_blocks == 0 && std::min(s.in_channels, s.out_channels) >= least_channels;
}

std::int64_t rows_together(const Problem& problem, const Plan& plan) noexcept {
    return plan.stage(problem.stage_count - 1).algorithm == Algorithm::strassen ? 2 : 1;
}

float strassen_weight(const std::array<float, 4>& quarters, std::int64_t product) noexcept {
    const double b11 = quarters[0], b12 = quarters[1], b21 = quarters[2], b22 = quarters[3], t1 = b12 - b11,
                 t2 = b22 - t1;
    const std::array<double, 7> weights{b11, b21, t2, b22 - b12, b21 - t2, t1, b22};
    return static_cast<float>(weights[static_cast<std::size_t>(product)]);
}

Stage lower_half(Stage stage) noexcept {
    stage.out_channels /= 2;
    stage.conv.out_channels /= 2;
    return stage;
}

StrassenLayout strassen_layout(const Problem& problem, const Plan& plan, int i) {
    const RowBuffer source = i == 0 ? staging_buffer(problem, plan) : mid_buffer(problem, plan, i - 1);
    const std::int64_t parked =
        parked_bytes(problem, plan, i);  // of a vector for each pixel, so of two a pair
    StrassenLayout layout;
    layout.second_parked = parked / 2;
    layout.sums = ceil_div(parked, 64) * 64;
    layout.bytes = layout.sums + source.bytes;
    return layout;
}

}  // namespace tandem
