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

#include "core/plan/arithmetic.hpp"
#include "core/plan/float_state.hpp"
#include "core/plan/post_op_traits.hpp"
#include "core/run/guarded_buffer.hpp"
#include "core/run/magnitudes.hpp"
#include "core/run/tolerance.hpp"
#include "core/run/typed_tensor.hpp"
#include "tandem/reference.hpp"

namespace tandem {

namespace {

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
    std::optional<GuardedBuffer> input_factors{};
    std::vector<GuardedBuffer> scratch;  // one a thread
};

/// NaN where the tensor's type has one. An integer type has not: so every run starts from another pattern,
/// and what none of them writes differs from run to run.
void fill_unwritten(const GuardedBuffer& buffer, DataType type, int run) {
    std::memset(buffer.bytes().data(), is_quantized(type) ? 0xff - 0x15 * run : 0xff, buffer.bytes().size());
}

/// Flush to the byte: an element's size is all the alignment that tensors have to have.
Result<GuardedBuffer> guarded_tensor(DataType type, std::size_t elements, Placement placement) {
    return GuardedBuffer::create(tensor_bytes(type, elements), placement,
                                 static_cast<std::size_t>(element_bytes(type)));
}

Result<GuardedBuffer> guarded_copy(DataType type, const std::vector<float>& values, Placement placement) {
    Result<GuardedBuffer> buffer = guarded_tensor(type, values.size(), placement);
    if (buffer) store_elements(type, values, buffer->bytes().data());
    return buffer;
}

DataType output_type(const Problem& problem) { return problem.output_dtype(problem.stage_count - 1); }

Result<Buffers> make_buffers(const Problem& problem, const VerificationData& data, const Kernel& kernel,
                             int threads, Placement placement) {
    const std::int64_t outputs = element_count(problem.output_shape(), problem.output_view);
    Result<GuardedBuffer> input = guarded_copy(problem.dtype, data.input, placement);
    if (!input) return input.error();
    Result<GuardedBuffer> output =
        guarded_tensor(output_type(problem), static_cast<std::size_t>(outputs), placement);
    if (!output) return output.error();
    Buffers buffers{std::move(*input), std::move(*output), {}, {}, {}};
    if (problem.input.factors) {
        Result<GuardedBuffer> factors = guarded_copy(DataType::f32, data.input_factors, placement);
        if (!factors) return factors.error();
        buffers.input_factors = std::move(*factors);
    }
    for (int i = 0; i < problem.stage_count; ++i) {
        Result<GuardedBuffer> residual =
            guarded_copy(problem.output_dtype(i), data.residual[static_cast<std::size_t>(i)], placement);
        if (!residual) return residual.error();
        buffers.residuals.push_back(std::move(*residual));
    }
    for (int i = 0; i < threads; ++i) {
        Result<GuardedBuffer> scratch =
            GuardedBuffer::create(kernel.scratch_bytes(), placement, scratch_alignment);
        if (!scratch) return scratch.error();
        buffers.scratch.push_back(std::move(*scratch));
    }
    return buffers;
}

Args make_args(const Buffers& buffers, const PackedWeights& weights) {
    Args args{
        .input = buffers.input.bytes().data(), .output = buffers.output.bytes().data(), .weights = &weights};
    args.input_bytes = buffers.input.bytes().size();
    args.output_bytes = buffers.output.bytes().size();
    if (buffers.input_factors) {
        args.input_factors_bytes = buffers.input_factors->bytes().size();
        args.input_factors = reinterpret_cast<const float*>(buffers.input_factors->bytes().data());
    }
    for (std::size_t i = 0; i < buffers.residuals.size(); ++i) {
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
        return Error{ErrorCode::system,
                     fmt::format("thread {} of {} could not be started: {}; ask for fewer threads",
                                 threads.size(), parts, error.code().message())};
    }
    threads.clear();
    for (Status& status : statuses)
        if (!status) return std::move(status);
    return {};
}

/// The output of one run, as it is in memory.
using Output = std::vector<std::byte>;

/// And as it was before.
struct Run {
    Output before, output;
};

struct RunRequest {
    Schedule schedule = Schedule::whole;
    int parts = 1;
    int number = 0;  // of the run, so that each starts from other contents
    bool in_place = false;
};

Result<Run> run(const Kernel& kernel, const PackedWeights& weights, const Buffers& buffers,
                const RunRequest& request) {
    fill_unwritten(buffers.output, kernel.output_dtype(), request.number);
    if (request.in_place) std::ranges::copy(buffers.residuals.back().bytes(), buffers.output.bytes().begin());
    for (const GuardedBuffer& scratch : buffers.scratch)
        std::memset(scratch.bytes().data(), 0xff, scratch.bytes().size());
    const auto memory = buffers.output.bytes();
    Run result{{memory.begin(), memory.end()}, {}};
    Args args = make_args(buffers, weights);
    if (request.in_place) args.residual[buffers.residuals.size() - 1] = args.output;
    Status status;
    if (request.schedule == Schedule::concurrent) {
        status = run_concurrently(kernel, args, buffers, request.parts);
    } else {
        const int count = request.schedule == Schedule::whole ? 1 : request.parts;
        for (int part = count; status.ok() && part-- > 0;)
            status = kernel.run(part, count, args, buffers.scratch[0].bytes());
    }
    if (!status) return status.error();
    result.output.assign(memory.begin(), memory.end());
    return result;
}

bool is_direct(const Problem& problem, const Kernel& kernel) {
    for (int i = 0; i < problem.stage_count; ++i)
        if (kernel.plan().stage(i).algorithm != Algorithm::direct) return false;
    return true;
}

/// Sums of integer data that bf16 or f16 has no bits for are often exactly between two of its numbers.
/// Winograd's last bits then decide how they are rounded, of many numbers and not of a few: only random
/// data can be compared.
DataKind suitable_data(const Problem& problem, const Kernel& kernel, DataKind asked) {
    const bool rounds = problem.dtype == DataType::bf16 || problem.dtype == DataType::f16;
    return rounds && !is_direct(problem, kernel) ? DataKind::random : asked;
}

/// A verification under way: what every step needs.
struct Check {
    const Problem& problem;
    const VerifyOptions& options;
    const Kernel& kernel;
    const VerificationData& data;
    const std::vector<double>& reference;
    std::vector<bool> gaps;  // of the output's elements: those that no channel of a pixel has
    Magnitudes magnitudes{};
    int runs = 0;
    VerifyReport report{};

    DataType type() const { return output_type(problem); }
    TensorShape shape() const { return problem.output_shape(); }
    // Winograd's transforms and f32 operands rounded to bf16 are not exact on integers; the plan says
    // whether there are any.
    bool exact() const { return is_direct(problem, kernel) && data.exact && problem.math != Math::bf16; }
    Tolerance tolerance() const { return exact() ? Tolerance{} : tolerance_of(judged(), data, magnitudes); }
    // Math f16 is as close as fast where no stage of the kernel adds up in f16.
    Problem judged() const {
        Problem as = problem;
        if (as.math == Math::f16 && !sums_f16_pairs(problem, kernel.plan())) as.math = Math::fast;
        return as;
    }
    void fail(std::string difference);
};

void Check::fail(std::string difference) {
    report.passed = false;
    report.message = fmt::format(
        "{}: {} ({} data); rerun: tandem check '{}' --isa {} --threads {} --seed {}{}", problem.name(),
        difference, to_string(options.data), problem.name(), to_string(kernel.plan().isa), options.threads,
        options.seed, options.in_place ? " --in-place" : "");
}

/// First element in (n, c, y, x) order, padding channels included, for which `differs(index, is_padding)`;
/// as text.
template <class Differs>
std::optional<std::pair<std::size_t, std::string>> first_difference(const TensorShape& shape,
                                                                    const TensorView& view, Differs differs) {
    const std::int64_t block = channel_block(view.layout);
    const std::int64_t channels = (shape.c + block - 1) / block * block;
    for (std::int64_t n = 0; n < shape.n; ++n)
        for (std::int64_t c = 0; c < channels; ++c)
            for (std::int64_t y = 0; y < shape.h; ++y)
                for (std::int64_t x = 0; x < shape.w; ++x) {
                    const auto index = static_cast<std::size_t>(element_index(shape, view, n, c, y, x));
                    if (!differs(index, c >= shape.c)) continue;
                    return std::pair{index, fmt::format("(n {}, c {}{}, y {}, x {})", n, c,
                                                        c < shape.c ? "" : ", a padding channel", y, x)};
                }
    return std::nullopt;
}

/// Of the output.
std::vector<bool> gaps_of(const Problem& problem) {
    const TensorShape shape = problem.output_shape();
    std::vector<bool> gaps(static_cast<std::size_t>(element_count(shape, problem.output_view)), true);
    first_difference(shape, problem.output_view, [&](std::size_t i, bool) {
        gaps[i] = false;
        return false;
    });
    return gaps;
}

/// 0 where they are equal, which infinities may be.
double distance(double a, double b) { return a == b ? 0 : std::abs(a - b); }

/// Records the largest error and, where it is too large, the first element out of tolerance.
void compare_with_reference(Check& check, const Output& bytes) {
    const std::vector<float> output = load_elements(check.type(), bytes);
    // Of numbers that small, as in the tails of gelu, f32 arithmetic leaves fewer bits than the types have.
    const double scale = check.magnitudes.output, negligible = 1e-6 * scale;
    double largest = 0;
    std::size_t outputs = 0, different = 0;
    for (std::size_t i = 0; i < output.size(); ++i) {
        if (check.gaps[i]) continue;
        const double error = distance(output[i], check.reference[i]);
        ++outputs;
        different += error > negligible;
        largest = std::isnan(error) ? HUGE_VAL : std::max(largest, error);
    }
    check.report.exact = check.report.exact && largest == 0;
    check.report.max_error = std::max(check.report.max_error, scale > 0 ? largest / scale : largest);
    const Tolerance tolerance = check.tolerance();
    const auto accepted = [&](std::size_t i, bool padding) {
        return padding ? 0 : tolerance.absolute + tolerance.relative * std::abs(check.reference[i]);
    };
    bool in_padding = false;
    const auto difference =
        first_difference(check.shape(), check.problem.output_view, [&](std::size_t i, bool padding) {
            in_padding = padding;
            const double error = distance(output[i], check.reference[i]);
            return std::isinf(error) ||
                   !(error <=
                     accepted(i, padding));  // an infinite number would make its own tolerance infinite
        });
    if (difference) {
        const auto& [index, where] = *difference;
        check.fail(fmt::format("output {} is {}, the reference has {}; a difference of {} is accepted", where,
                               output[index], check.reference[index], accepted(index, in_padding)));
    } else if (const std::size_t most = most_different(check.judged(), outputs); different > most) {
        check.fail(
            fmt::format("{} of {} outputs are not the reference's, if within tolerance; {} are accepted",
                        different, outputs, most));
    }
}

/// Gaps have to be as they were before the run.
void compare_gaps(Check& check, const Output& bytes, const Output& before, Schedule schedule) {
    const auto size = static_cast<std::size_t>(element_bytes(check.type()));
    for (std::size_t i = 0; i < check.gaps.size(); ++i) {
        if (!check.gaps[i] || std::memcmp(&bytes[i * size], &before[i * size], size) == 0) continue;
        check.fail(fmt::format("element {} of the output's memory, which lies in a gap, is written {}", i,
                               to_string(schedule)));
        return;
    }
}

void compare_bitwise(Check& check, const Output& whole, const Output& parts, Schedule schedule) {
    const auto bytes = static_cast<std::size_t>(element_bytes(check.type()));
    const auto difference = first_difference(
        check.shape(), check.problem.output_view,
        [&](std::size_t i, bool) { return std::memcmp(&whole[i * bytes], &parts[i * bytes], bytes) != 0; });
    if (!difference) return;
    const auto& [index, where] = *difference;
    check.fail(fmt::format("output {} is {} {} and {} {}; equal bits are accepted", where,
                           load_element(check.type(), whole.data(), index), to_string(Schedule::whole),
                           load_element(check.type(), parts.data(), index), to_string(schedule)));
}

Status check_placement(Check& check, const PackedWeights& weights, Placement placement) {
    const int parts = check.options.threads;
    const Result<Buffers> buffers = make_buffers(check.problem, check.data, check.kernel, parts, placement);
    if (!buffers) return buffers.error();
    const auto run_once = [&](Schedule schedule) {
        return run(check.kernel, weights, *buffers, {schedule, parts, check.runs++, check.options.in_place});
    };
    const Result<Run> whole = run_once(Schedule::whole);
    if (!whole) return whole.error();
    compare_with_reference(check, whole->output);
    if (check.report.passed) compare_gaps(check, whole->output, whole->before, Schedule::whole);
    if (parts == 1) return {};
    for (const Schedule schedule : {Schedule::backwards, Schedule::concurrent}) {
        const Result<Run> split = run_once(schedule);
        if (!split) return split.error();
        if (check.report.passed) compare_bitwise(check, whole->output, split->output, schedule);
        if (check.report.passed) compare_gaps(check, split->output, split->before, schedule);
    }
    return {};
}

std::string strides_text(const TensorView& view) {
    return fmt::format("{} with strides of {} (pixel), {} (row), {} (block) and {} (image) elements",
                       to_string(view.layout), view.pixel, view.row, view.block, view.image);
}

/// Why the last stage's residual cannot be the output.
Error not_in_place(const Problem& problem) {
    const int last = problem.stage_count - 1;
    std::string why;
    if (problem.last().sums_input())
        why =
            "the last convolution's +sum(in) adds the chain's input, which is never the output; +sum of a "
            "tensor of its own is accepted";
    else if (problem.residual_shape(last).c == 0)
        why =
            "the last convolution has no +sum, so no residual that could be the output; one with +sum is "
            "accepted";
    else
        why = fmt::format(
            "the last convolution's residual lies in {}, the output in {}; one that lies as the output does "
            "is "
            "accepted",
            strides_text(problem.residual_view(last)), strides_text(problem.output_view));
    return {ErrorCode::invalid_argument, fmt::format("in_place is set, but {}.", why)};
}

}  // namespace

Result<VerifyReport> verify(Context& context, const ConvChain& chain, const VerifyOptions& options) {
    const DefaultFloatState float_state;
    if (options.threads < 1)
        return Error{ErrorCode::invalid_argument,
                     fmt::format("threads is {}; at least 1 is accepted", options.threads)};
    const Result<Problem> problem = make_problem(chain);
    if (!problem) return problem.error();
    if (options.in_place && !residual_lies_on_output(*problem)) return not_in_place(*problem);
    const Result<Kernel> kernel =
        options.kernel ? Result<Kernel>(options.kernel) : context.dispatch(chain, options.dispatch);
    if (!kernel) return kernel.error();
    VerifyOptions used = options;
    used.data = suitable_data(*problem, *kernel, options.data);
    const VerificationData data = make_verification_data(*problem, used.data, options.seed);
    const Result<std::vector<double>> expected = reference_of(chain, data);
    if (!expected) return expected.error();
    const Result<PackedWeights> weights =
        kernel->pack(data.views(problem->stage_count), data.input_quantization);
    if (!weights) return weights.error();

    Check check{*problem, used, *kernel, data, *expected, gaps_of(*problem), {.output = max_abs(*expected)}};
    if (!check.exact()) {
        const Result<Magnitudes> magnitudes = magnitudes_of(chain, *problem, data, *expected);
        if (!magnitudes) return magnitudes.error();
        check.magnitudes = *magnitudes;
    }
    check.report.passed = check.report.exact = true;
    check.report.data = used.data;
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

}  // namespace tandem
