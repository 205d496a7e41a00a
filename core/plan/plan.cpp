#include "core/plan/plan.hpp"

#include <fmt/format.h>

namespace tandem {

const char* to_string(Fusion fusion) noexcept {
    switch (fusion) {
        case Fusion::recompute: return "recompute";
        case Fusion::sliding: return "sliding";
        case Fusion::single: return "single";
    }
    return "?";
}

const char* to_string(Backend backend) noexcept { return backend == Backend::tandem ? "tandem" : "libxsmm"; }

bool uses_libxsmm(const Stage& stage, const Plan& plan) noexcept {
    return plan.backend == Backend::libxsmm && !stage.depthwise();
}

Plan with_libxsmm(Plan plan) noexcept {
    plan.backend = Backend::libxsmm;
    for (StagePlan& stage : plan.stages) {
        stage.algorithm = Algorithm::direct;
        stage.dot = Dot::f32;
        stage.block_channels = 0;
    }
    return plan;
}

const char* to_string(Algorithm algorithm) noexcept {
    switch (algorithm) {
        case Algorithm::direct: return "direct";
        case Algorithm::winograd2: return "winograd2";
        case Algorithm::winograd4: return "winograd4";
    }
    return "?";
}

const char* to_string(Dot dot) noexcept {
    switch (dot) {
        case Dot::f32: return "f32";
        case Dot::bf16: return "bf16";
        case Dot::f16: return "f16";
        case Dot::int8: return "int8";
        case Dot::int16: return "int16";
        case Dot::amx_bf16: return "amx_bf16";
        case Dot::amx_int8: return "amx_int8";
        case Dot::amx_x3: return "amx_x3";
        case Dot::amx_x6: return "amx_x6";
    }
    return "?";
}

std::string to_string(const Plan& plan) {
    std::string text =
        fmt::format("isa={} backend={} fusion={} tile={}x{} channel_splits={}{}", to_string(plan.isa),
                    to_string(plan.backend), to_string(plan.fusion), plan.tile_h, plan.tile_w,
                    plan.channel_splits, plan.prefetch_next ? " prefetch_next" : "");
    for (std::size_t i = 0; i < plan.stages.size(); ++i) {
        const StagePlan& s = plan.stages[i];
        if (s.block_pixels == 0) continue;
        text += fmt::format(" stage{}={},{}{}px*{}vec*{}rows{}", i, to_string(s.algorithm),
                            s.dot == Dot::f32 ? "" : to_string(s.dot) + std::string(","), s.block_pixels,
                            s.block_vectors, s.block_rows, s.channels_inner ? ",channels-inner" : "");
        if (s.block_channels > 0) text += fmt::format(",{}ch", s.block_channels);
    }
    return text;
}

std::size_t hash_value(const Plan& plan) noexcept {
    std::uint64_t h = 0x9e3779b97f4a7c15u;
    const auto mix = [&h](std::uint64_t v) {
        h = (h ^ v) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    };
    mix(static_cast<std::uint64_t>(plan.isa.bits()) | static_cast<std::uint64_t>(plan.fusion) << 32 |
        static_cast<std::uint64_t>(plan.backend) << 40 |
        static_cast<std::uint64_t>(plan.prefetch_next) << 48);
    mix(static_cast<std::uint64_t>(plan.tile_h) << 32 | static_cast<std::uint32_t>(plan.tile_w));
    mix(static_cast<std::uint64_t>(plan.channel_splits));
    for (const StagePlan& s : plan.stages) {
        mix(static_cast<std::uint64_t>(s.block_pixels) | static_cast<std::uint64_t>(s.block_vectors) << 16 |
            static_cast<std::uint64_t>(s.block_rows) << 32 |
            static_cast<std::uint64_t>(s.channels_inner) << 48 |
            static_cast<std::uint64_t>(s.algorithm) << 56 | static_cast<std::uint64_t>(s.dot) << 60);
        mix(static_cast<std::uint64_t>(s.block_channels));
    }
    return h;
}

}  // namespace tandem
