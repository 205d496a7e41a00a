#include "core/run/verification.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "core/plan/plan.hpp"
#include "core/run/guarded_buffer.hpp"
#include "tandem/reference.hpp"

namespace tandem {

namespace {

constexpr double relative_tolerance = 1e-5;
constexpr std::size_t scratch_alignment = 64;

/// How the parts of one run are executed.
enum class Schedule { whole, backwards, concurrent };

const char* to_string(Schedule schedule) {
    switch (schedule) {
        case Schedule::whole: return "in one part";
        case Schedule::backwards: return "in parts, last to first on one thread";
        case Schedule::concurrent: return "in parts, one thread each";
    }
    return "unknown";
}

/// The tensors of one call, each between guard pages.
struct Buffers {
    GuardedBuffer input, output;
    std::vector<GuardedBuffer> residuals;  // one a stage
    std::vector<GuardedBuffer> scratch;    // one a thread
};

void fill_with_nan(const GuardedBuffer& buffer) { std::memset(buffer.bytes().data(), 0xff, buffer.bytes().size()); }

Result<GuardedBuffer> guarded_copy(const std::vector<float>& values, Placement placement) {
    Result<GuardedBuffer> buffer = GuardedBuffer::create(values.size() * sizeof(float), placement);
    if (buffer) std::ranges::copy(values, buffer->floats().begin());
    return buffer;
}

Result<Buffers> make_buffers(const Problem& problem, const VerificationData& data, const Kernel& kernel, int threads,
                             Placement placement) {
    const std::int64_t outputs = element_count(problem.output_shape(problem.stage_count - 1), problem.layout);
    Result<GuardedBuffer> input = guarded_copy(data.input, placement);
    if (!input) return input.error();
    Result<GuardedBuffer> output = GuardedBuffer::create(static_cast<std::size_t>(outputs) * sizeof(float), placement);
    if (!output) return output.error();
    Buffers buffers{std::move(*input), std::move(*output), {}, {}};
    for (const std::vector<float>& values : data.residual) {
        Result<GuardedBuffer> residual = guarded_copy(values, placement);
        if (!residual) return residual.error();
        buffers.residuals.push_back(std::move(*residual));
    }
    for (int i = 0; i < threads; ++i) {
        Result<GuardedBuffer> scratch = GuardedBuffer::create(kernel.scratch_bytes(), placement, scratch_alignment);
        if (!scratch) return scratch.error();
        buffers.scratch.push_back(std::move(*scratch));
    }
    return buffers;
}

Args make_args(const Buffers& buffers, const PackedWeights& weights) {
    Args args{.input = buffers.input.bytes().data(), .output = buffers.output.bytes().data(), .weights = &weights};
    args.input_bytes = buffers.input.bytes().size();
    args.output_bytes = buffers.output.bytes().size();
    for (std::size_t i = 0; i < args.residual.size(); ++i) {
        const auto bytes = buffers.residuals[i].bytes();
        args.residual[i] = bytes.empty() ? nullptr : bytes.data();
        args.residual_bytes[i] = bytes.size();
    }
    return args;
}

Status run_concurrently(const Kernel& kernel, const Args& args, const Buffers& buffers, int parts) {
    std::vector<Status> statuses(static_cast<std::size_t>(parts));
    std::vector<std::jthread> threads;
    try {
        for (int part = 0; part < parts; ++part)
            threads.emplace_back([&, part] {
                const auto at = static_cast<std::size_t>(part);
                statuses[at] = kernel.run(part, parts, args, buffers.scratch[at].bytes());
            });
    } catch (const std::system_error& error) {  // what has started ends before the return: jthread joins
        return Error{ErrorCode::system, fmt::format("thread {} of {} could not be started: {}; ask for fewer threads", threads.size(), parts,
                                                    error.code().message())};
    }
    threads.clear();
    for (Status& status : statuses)
        if (!status) return std::move(status);
    return {};
}

/// The output of one run, which starts from buffers full of NaN.
Result<std::vector<float>> run(const Kernel& kernel, const PackedWeights& weights, const Buffers& buffers, int parts, Schedule schedule) {
    fill_with_nan(buffers.output);
    for (const GuardedBuffer& scratch : buffers.scratch) fill_with_nan(scratch);
    const Args args = make_args(buffers, weights);
    Status status;
    if (schedule == Schedule::concurrent) {
        status = run_concurrently(kernel, args, buffers, parts);
    } else {
        const int count = schedule == Schedule::whole ? 1 : parts;
        for (int part = count; status.ok() && part-- > 0;) status = kernel.run(part, count, args, buffers.scratch[0].bytes());
    }
    if (!status) return status.error();
    const auto output = buffers.output.floats();
    return std::vector<float>(output.begin(), output.end());
}

/// A verification under way: what every step needs.
struct Check {
    const Problem& problem;
    const VerifyOptions& options;
    const Kernel& kernel;
    const VerificationData& data;
    const std::vector<double>& reference;
    double scale = 0;  // max|reference|
    VerifyReport report{};

    TensorShape shape() const { return problem.output_shape(problem.stage_count - 1); }
    // Winograd's transforms are not exact on integers; the plan says whether one is used.
    bool exact() const {
        for (int i = 0; i < problem.stage_count; ++i)
            if (kernel.plan().stages[static_cast<std::size_t>(i)].algorithm != Algorithm::direct) return false;
        return data.exact;
    }
    double tolerance() const { return exact() ? 0 : relative_tolerance * scale + data.tolerance; }
    void fail(std::string difference);
};

void Check::fail(std::string difference) {
    report.passed = false;
    report.message = fmt::format("{}: {} ({} data); rerun: tandem check '{}' --isa {} --layout {} --math {} --threads {} --seed {}",
                                 problem.name(), difference, to_string(options.data), problem.text(),
                                 to_string(kernel.plan().isa), to_string(problem.layout), to_string(problem.math), options.threads, options.seed);
}

/// First element in (n, c, y, x) order, padding channels included, for which `differs(index, is_padding)`; as text.
template <class Differs>
std::optional<std::pair<std::size_t, std::string>> first_difference(const TensorShape& shape, Layout layout, Differs differs) {
    const std::int64_t block = channel_block(layout);
    const std::int64_t channels = (shape.c + block - 1) / block * block;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x) {
                    const auto index = static_cast<std::size_t>(element_index(shape, layout, n, c, y, x));
                    if (!differs(index, c >= shape.c)) continue;
                    return std::pair{index, fmt::format("(n {}, c {}{}, y {}, x {})", n, c,
                                                        c < shape.c ? "" : ", a padding channel", y, x)};
                }
    return std::nullopt;
}

/// Records the largest error and, where it is too large, the first element out of tolerance.
void compare_with_reference(Check& check, const std::vector<float>& output) {
    double largest = 0;
    for (std::size_t i = 0; i < output.size(); ++i) {
        const double error = std::abs(output[i] - check.reference[i]);
        largest = std::isnan(error) ? HUGE_VAL : std::max(largest, error);
    }
    check.report.exact = check.report.exact && largest == 0;
    check.report.max_error = std::max(check.report.max_error, check.scale > 0 ? largest / check.scale : largest);
    const double tolerance = check.tolerance();
    const auto difference = first_difference(check.shape(), check.problem.layout, [&](std::size_t i, bool padding) {
        return !(std::abs(output[i] - check.reference[i]) <= (padding ? 0 : tolerance));
    });
    if (!difference) return;
    const auto& [index, where] = *difference;
    check.fail(fmt::format("output {} is {}, the reference has {}; a difference of {} is accepted", where, output[index],
                           check.reference[index], tolerance));
}

void compare_bitwise(Check& check, const std::vector<float>& whole, const std::vector<float>& parts, Schedule schedule) {
    const auto difference = first_difference(check.shape(), check.problem.layout, [&](std::size_t i, bool) {
        return std::memcmp(&whole[i], &parts[i], sizeof(float)) != 0;
    });
    if (!difference) return;
    const auto& [index, where] = *difference;
    check.fail(fmt::format("output {} is {} {} and {} {}; equal bits are accepted", where, whole[index],
                           to_string(Schedule::whole), parts[index], to_string(schedule)));
}

Status check_placement(Check& check, const PackedWeights& weights, Placement placement) {
    const int parts = check.options.threads;
    const Result<Buffers> buffers = make_buffers(check.problem, check.data, check.kernel, parts, placement);
    if (!buffers) return buffers.error();
    const Result<std::vector<float>> whole = run(check.kernel, weights, *buffers, parts, Schedule::whole);
    if (!whole) return whole.error();
    compare_with_reference(check, *whole);
    if (parts == 1) return {};
    for (const Schedule schedule : {Schedule::backwards, Schedule::concurrent}) {
        const Result<std::vector<float>> split = run(check.kernel, weights, *buffers, parts, schedule);
        if (!split) return split.error();
        if (check.report.passed) compare_bitwise(check, *whole, *split, schedule);
    }
    return {};
}

double max_abs(const std::vector<double>& values) {
    double largest = 0;
    for (const double value : values) largest = std::max(largest, std::abs(value));
    return largest;
}

/// The reference on a verification's data. It takes exactly what a descriptor needs: a post-op cut off takes its operand along.
template <class Descriptor>
Result<std::vector<double>> reference_of(const Descriptor& descriptor, const VerificationData& data, std::span<const StageWeights> stages) {
    const Result<Problem> problem = make_problem(descriptor);
    if (!problem) return problem.error();
    std::vector<StageWeights> used(stages.begin(), stages.end());
    std::array<std::span<const float>, 2> residual{};
    for (std::size_t i = 0; i < used.size(); ++i) {
        const Conv& conv = problem->stages[i].conv;
        if (!conv.has(PostOpKind::bias)) used[i].bias = {};
        if (!conv.has(PostOpKind::prelu)) used[i].prelu = {};
        if (!conv.has(PostOpKind::scale)) used[i].scale = {};
        if (conv.has(PostOpKind::sum)) residual[i] = data.residual[i];
    }
    return reference(descriptor, {.input = data.input, .stages = used, .residual = residual});
}

/// The convolution without its last post-ops from the first that bounds its result on: those make outputs small whose sums are not.
Conv without_bounds(Conv conv) {
    for (int i = 0; i < conv.post_op_count; ++i) {
        switch (conv.post_ops[static_cast<std::size_t>(i)].kind) {
            case PostOpKind::relu6:
            case PostOpKind::clip:
            case PostOpKind::sigmoid:
            case PostOpKind::tanh:
            case PostOpKind::hsigmoid: conv.post_op_count = i; break;
            default: break;
        }
    }
    return conv;
}
ConvPair without_bounds(ConvPair pair) {
    pair.second = without_bounds(pair.second);
    return pair;
}
SingleConv without_bounds(SingleConv single) {
    single.conv = without_bounds(single.conv);
    return single;
}

template <class Descriptor>
Result<VerifyReport> verify_any(Context& context, const Descriptor& descriptor, const VerifyOptions& options) {
    if (options.threads < 1)
        return Error{ErrorCode::invalid_argument, fmt::format("threads is {}; at least 1 is accepted", options.threads)};
    const Result<Problem> problem = make_problem(descriptor);
    if (!problem) return problem.error();
    const VerificationData data = make_verification_data(*problem, options.data, options.seed);
    const std::array views{data.stages[0].view(), data.stages[1].view()};
    const std::span stages = std::span(views).first(static_cast<std::size_t>(problem->stage_count));
    const Result<std::vector<double>> expected = reference_of(descriptor, data, stages);
    if (!expected) return expected.error();
    const Result<Kernel> kernel = context.dispatch(descriptor, options.dispatch);
    if (!kernel) return kernel.error();
    const Result<PackedWeights> weights = kernel->pack(stages);
    if (!weights) return weights.error();

    Check check{*problem, options, *kernel, data, *expected, max_abs(*expected)};
    if (const Descriptor sums = without_bounds(descriptor); !check.exact() && !(sums == descriptor)) {
        // Rounding is relative to the sums, so the bound is too (docs/math-modes.md).
        const auto unbounded = reference_of(sums, data, stages);
        if (!unbounded) return unbounded.error();
        check.scale = std::max(check.scale, max_abs(*unbounded));
    }
    check.report.passed = check.report.exact = true;
    check.report.kernel_name = kernel->name();
    check.report.fused = kernel->fused();
    const std::vector<Placement> placements = options.guard_pages
                                                  ? std::vector{Placement::flush_end, Placement::flush_start}
                                                  : std::vector{Placement::unguarded};
    for (const Placement placement : placements) {
        if (Status status = check_placement(check, *weights, placement); !status) return status.error();
        if (!check.report.passed) break;
    }
    return check.report;
}

}  // namespace

Result<VerifyReport> verify(Context& context, const ConvPair& pair, const VerifyOptions& options) {
    return verify_any(context, pair, options);
}

Result<VerifyReport> verify(Context& context, const SingleConv& single, const VerifyOptions& options) {
    return verify_any(context, single, options);
}

}  // namespace tandem
