#include "core/run/tile_runner.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/format.h>
#include <immintrin.h>

#include "core/run/libxsmm_backend.hpp"

namespace tandem {

#ifndef TANDEM_HAVE_LIBXSMM
namespace libxsmm {
bool available() noexcept { return false; }
std::string version() { return "LIBXSMM (Debian: libxsmm-dev)"; }
Result<GeneratedKernels> generate(std::span<const BatchReduceShape>, Isa) {
    return Error{ErrorCode::unsupported,
                 "plan.backend is libxsmm, which this build lacks; plan.backend tandem is accepted."};
}
}  // namespace libxsmm
#endif

namespace {

/// Every stage in one generated function.
class GeneratedRunner final : public TileRunner {
public:
    GeneratedRunner(std::vector<jit::TileFunction> functions, Backend asked)
        : functions_(std::move(functions)), asked_(asked) {}
    void run(jit::TileArgs& args, std::size_t function, std::byte*) const noexcept override {
        functions_[function](&args);
    }
    std::string explain() const override {
        return asked_ == Backend::libxsmm
                   ? "Backend: Tandem's own code instead of LIBXSMM's: no stage is dense.\n"
                   : "Backend: Tandem's own code.\n";
    }

private:
    std::vector<jit::TileFunction> functions_;
    Backend asked_;
};

// Kernels from elsewhere may leave the upper halves of the vector registers dirty.
__attribute__((target("avx"))) void clear_upper_halves() noexcept { _mm256_zeroupper(); }

/// Dense stages by LIBXSMM's kernels, a depthwise one by its generated function, stage after stage.
class LibxsmmRunner final : public TileRunner {
public:
    static Result<std::unique_ptr<const TileRunner>> create(const Problem& problem, const Plan& plan,
                                                            const jit::SegmentFunctions& code) {
        auto runner = std::make_unique<LibxsmmRunner>();
        runner->functions_ = code.functions;
        runner->stage_count_ = static_cast<std::size_t>(problem.stage_count);
        std::size_t kernels = 0, bytes = 0;
        for (int i = 0; i < problem.stage_count; ++i) {
            if (!uses_libxsmm(problem.stage(i), plan)) continue;
            const auto s = static_cast<std::size_t>(i);
            BatchReduceStage& stage = runner->dense_[s].emplace(problem, plan, i, code);
            auto generated = libxsmm::generate(stage.shapes(), plan.isa);
            if (!generated) return generated.error();
            kernels += generated->kernels.size();
            bytes += generated->memory->bytes().size();
            stage.bind(std::move(generated->kernels));
            runner->memory_.push_back(std::move(generated->memory));
        }
        runner->text_ = describe(problem, plan, kernels, bytes);
        return std::unique_ptr<const TileRunner>(std::move(runner));
    }

    void run(jit::TileArgs& args, std::size_t function, std::byte* scratch) const noexcept override {
        for (std::size_t i = 0; i < stage_count_; ++i) {
            if (dense_[i]) {
                dense_[i]->run(args, function, scratch);
                clear_upper_halves();
            } else {
                functions_[function](&args);
            }
        }
    }

    std::size_t scratch_bytes() const noexcept override {
        std::size_t bytes = 0;
        for (const auto& stage : dense_)
            bytes = std::max(bytes, stage ? stage->scratch_bytes() : 0);
        return bytes;
    }

    std::string explain() const override { return text_; }

private:
    static std::string describe(const Problem& problem, const Plan& plan, std::size_t kernels,
                                std::size_t bytes) {
        std::string text =
            fmt::format("Backend: {}: {} batch-reduce kernels for {} ({} bytes) do the GEMM work",
                        libxsmm::version(), kernels, to_string(plan.isa), bytes);
        for (int i = 0; i < problem.stage_count; ++i) {
            if (problem.stage(i).depthwise())
                text += fmt::format("; stage {} is depthwise: Tandem's own code", i + 1);
        }
        if (plan.prefetch_next) text += "; prefetch_next is not done";
        return text + ".\n";
    }

    std::array<std::optional<BatchReduceStage>, max_stages> dense_;
    std::vector<jit::TileFunction> functions_;
    std::vector<std::shared_ptr<const jit::ExecutableMemory>> memory_;
    std::size_t stage_count_ = 0;
    std::string text_;
};

}  // namespace

Status check_backend(const Plan& plan) {
    if (plan.backend != Backend::libxsmm || libxsmm::available()) return {};
    return Error{
        ErrorCode::unsupported,
        fmt::format("plan.backend is libxsmm, but this build was made without {}; tandem is accepted.",
                    libxsmm::version())};
}

Result<std::unique_ptr<const TileRunner>> make_tile_runner(const Problem& problem, const Plan& plan,
                                                           const jit::SegmentFunctions& code) {
    for (int i = 0; i < problem.stage_count; ++i)
        if (uses_libxsmm(problem.stage(i), plan)) return LibxsmmRunner::create(problem, plan, code);
    return std::unique_ptr<const TileRunner>(std::make_unique<GeneratedRunner>(code.functions, plan.backend));
}

}  // namespace tandem
