#include "core/plan/plan.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace tandem {

const char* to_string(Edge edge) noexcept {
    switch (edge) {
        case Edge::recompute: return "recompute";
        case Edge::sliding: return "sliding";
        case Edge::stored: return "stored";
    }
    return "?";
}

bool Plan::slides() const noexcept { return std::ranges::find(edges, Edge::sliding) != edges.end(); }

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
        stage.broadcast = Broadcast::embedded;
        stage.weights_ahead = point_ahead;
        stage.pixel_pairs = false;
    }
    return plan;
}

const char* to_string(Algorithm algorithm) noexcept {
    switch (algorithm) {
        case Algorithm::direct: return "direct";
        case Algorithm::winograd2: return "winograd2";
        case Algorithm::winograd4: return "winograd4";
        case Algorithm::strassen: return "strassen";
    }
    return "?";
}

const char* to_string(Broadcast broadcast) noexcept {
    return broadcast == Broadcast::embedded ? "embedded" : "registers";
}

const char* to_string(Dot dot) noexcept {
    switch (dot) {
        case Dot::f32: return "f32";
        case Dot::bf16: return "bf16";
        case Dot::f16: return "f16";
        case Dot::int8: return "int8";
        case Dot::int16: return "int16";
        case Dot::signed_int8: return "signed_int8";
        case Dot::wide_bf16: return "wide_bf16";
        case Dot::wide_f16: return "wide_f16";
        case Dot::amx_bf16: return "amx_bf16";
        case Dot::amx_int8: return "amx_int8";
        case Dot::amx_x3: return "amx_x3";
        case Dot::amx_x6: return "amx_x6";
        case Dot::amx_f16: return "amx_f16";
    }
    return "?";
}

namespace {

std::string to_string(const Tiling& tiling) {
    return fmt::format("tile={}x{} channel_splits={}{}", tiling.tile_h, tiling.tile_w, tiling.channel_splits,
                       tiling.prefetch_next ? " prefetch_next" : "");
}

std::string to_string(const StagePlan& s) {
    std::string text =
        fmt::format("{},{}{}px*{}vec*{}rows{}", to_string(s.algorithm),
                    s.dot == Dot::f32 ? "" : to_string(s.dot) + std::string(","), s.block_pixels,
                    s.block_vectors, s.block_rows, s.channels_inner ? ",channels-inner" : "");
    if (s.block_channels > 0) text += fmt::format(",{}ch", s.block_channels);
    if (s.broadcast == Broadcast::registers) text += ",broadcast-registers";
    if (s.pixel_pairs) text += ",pixel-pairs";
    if (s.weights_ahead != point_ahead) text += fmt::format(",{}B-ahead", s.weights_ahead);
    return text;
}

}  // namespace

std::string to_string(const Plan& plan) {
    std::string text = fmt::format("isa={} backend={} {}", to_string(plan.isa), to_string(plan.backend),
                                   to_string(static_cast<const Tiling&>(plan)));
    for (int i = 0; i < max_stages && plan.stage(i).block_pixels > 0; ++i) {
        text += fmt::format(" stage{}={}", i, to_string(plan.stage(i)));
        if (i + 1 == max_stages || plan.stage(i + 1).block_pixels == 0) break;
        text += fmt::format(" edge{}={}", i, to_string(plan.edge(i)));
        if (plan.edge(i) == Edge::stored)
            text += fmt::format("({})", to_string(plan.stored[static_cast<std::size_t>(i)]));
    }
    return text;
}

std::size_t hash_value(const Plan& plan) noexcept {
    std::uint64_t h = 0x9e3779b97f4a7c15u;
    const auto mix = [&h](std::uint64_t v) {
        h = (h ^ v) * 0xff51afd7ed558ccdu, h ^= h >> 32;
    };
    const auto mix_tiling = [&](const Tiling& tiling) {
        mix(static_cast<std::uint64_t>(tiling.tile_h) << 32 | static_cast<std::uint32_t>(tiling.tile_w));
        mix(static_cast<std::uint64_t>(tiling.channel_splits) << 1 |
            static_cast<std::uint64_t>(tiling.prefetch_next));
    };
    mix(static_cast<std::uint64_t>(plan.isa.bits()) | static_cast<std::uint64_t>(plan.backend) << 32);
    mix_tiling(plan);
    for (std::size_t i = 0; i < plan.edges.size(); ++i) {
        mix(static_cast<std::uint64_t>(plan.edges[i]));
        mix_tiling(plan.stored[i]);
    }
    for (const StagePlan& s : plan.stages) {
        mix(static_cast<std::uint64_t>(s.block_pixels) | static_cast<std::uint64_t>(s.block_vectors) << 16 |
            static_cast<std::uint64_t>(s.block_rows) << 32 |
            static_cast<std::uint64_t>(s.channels_inner) << 48 |
            static_cast<std::uint64_t>(s.algorithm) << 56 | static_cast<std::uint64_t>(s.dot) << 60);
        mix(static_cast<std::uint64_t>(s.block_channels) | static_cast<std::uint64_t>(s.broadcast) << 32 |
            static_cast<std::uint64_t>(s.pixel_pairs) << 40);
        mix(static_cast<std::uint64_t>(s.weights_ahead));
    }
    return h;
}

}  // namespace tandem
