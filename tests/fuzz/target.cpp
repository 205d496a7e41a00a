#include "fuzz/target.hpp"

#include <cstdio>
#include <cstdlib>

#include "core/plan/problem.hpp"
#include "core/run/verification.hpp"

namespace tandem::fuzz {
namespace {

/// Of random data, last digits are the test suites' concern: here, what is wrong is far off.
constexpr double last_digits = 1e-4;
constexpr double most_products = 2e5, most_elements = 1e5;

bool is_small(const Problem& problem) {
    double products = 0;
    for (int i = 0; i < problem.stage_count; ++i) {
        const TensorShape shape = problem.output_shape(i);
        const double outputs = tensor_bytes(shape, DataType::u8);
        products += outputs * static_cast<double>(fan_in(problem.stage(i)) + 1);
    }
    const auto of = [](const TensorShape& shape, const TensorView& view) {
        const double blocks = static_cast<double>(shape.c) * static_cast<double>(view.block);
        return static_cast<double>(shape.n) * static_cast<double>(view.image) + blocks +
               static_cast<double>(shape.h) * static_cast<double>(view.row) +
               static_cast<double>(shape.w) * static_cast<double>(view.pixel);
    };
    double elements =
        of(problem.input_shape(), problem.input_view) + of(problem.output_shape(), problem.output_view);
    for (int i = 0; i < problem.stage_count; ++i)
        elements += of(problem.residual_shape(i), problem.residual_view(i));
    return products < most_products && elements < most_elements;
}

/// Neither the user's wisdom nor a profile: each run is the same.
Context& context() {
    static Context made = [] {
        setenv("TANDEM_WISDOM", "", 1);
        setenv("TANDEM_MACHINE", "", 1);
        return Context({.cache_capacity = 16});
    }();
    return made;
}

}  // namespace

void require(bool holds, const std::string& sentence) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", sentence.c_str());
    std::abort();
}

void check_against_reference(const ConvChain& chain, const DispatchOptions& options) {
    const Result<Problem> problem = make_problem(chain);
    require(problem.ok(), problem.error().message);
    if (!is_small(*problem)) return;
    for (const DataKind data : {DataKind::integers, DataKind::random}) {
        const Result<VerifyReport> report =
            verify(context(), chain, {.dispatch = options, .threads = 1, .data = data});
        if (!report && report.error().code == ErrorCode::unsupported) return;
        require(report.ok(), report.error().message);
        const bool almost = data == DataKind::random && report->max_error < last_digits;
        require(report->passed || almost, report->message);
    }
}

}  // namespace tandem::fuzz
