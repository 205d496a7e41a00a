// Steps: a chain cut at stored edges, run segment by segment with a join in between, computes the bits that
// run() computes.
#include "support/doctest.hpp"

#include <memory>

#include "core/plan/tiling.hpp"
#include "core/run/packing.hpp"
#include "core/run/verification.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"
#include "tandem/thread_pool.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr const char* summing_text =
    "3x16x13x11:conv1o40+bias+relu:dw3+bias+relu:conv1o16+bias+sum(in)/nhwc/f32/fast/in=p40/out=nchw8c,i3000";
constexpr const char* chain_text = "3x16x13x11:conv1o40+bias+relu:dw3s2+bias+relu:conv1o24+bias+sum";

/// The rules' plan with the edges in `stored` (a bit each) cut, three rows a tile before them.
Result<Kernel> cut_kernel(Context& context, const ConvChain& chain, Isa isa, unsigned stored) {
    const Problem problem = *make_problem(chain);
    Plan plan = rules_plan(problem, *host_machine(isa), 1);
    for (int i = 0; i + 1 < problem.stage_count; ++i) {
        if ((stored >> i & 1u) == 0) continue;
        plan.edge(i) = Edge::stored;
        plan.stored[static_cast<std::size_t>(i)] = {.tile_h = 3,
                                                    .tile_w = static_cast<int>(problem.stage(i).out_w)};
    }
    return context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
}

AlignedBuffer memory_of(std::size_t bytes) {
    Result<AlignedBuffer> buffer = AlignedBuffer::create(bytes);
    REQUIRE(buffer.ok());
    return std::move(*buffer);
}

std::span<std::byte> span_of(const AlignedBuffer& buffer) { return {buffer.data(), buffer.size()}; }

/// Runs all parts of each step, the last part first.
Status run_by_steps(const Kernel& kernel, const Args& args, int parts) {
    const AlignedBuffer scratch = memory_of(kernel.scratch_bytes() + 64),
                        shared = memory_of(kernel.shared_bytes() + 64);
    for (int step = 0; step < kernel.steps(); ++step)
        for (int part = parts - 1; part >= 0; --part)
            if (Status status = kernel.run_step(step, part, parts, args, span_of(scratch), span_of(shared));
                !status)
                return status;
    return {};
}

}  // namespace

TEST_CASE("steps: as many as segments, with the bits of a call without them, on every ISA") {
    Context context;
    auto pool = ThreadPool::create({.threads = 3});
    REQUIRE(pool.ok());
    for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::u8, DataType::f16}) {
        ConvChain chain = *ConvChain::parse(dtype == DataType::f16 ? summing_text : chain_text);
        chain.dtype = dtype;
        for (const Isa isa : host_isas(dtype)) {
            for (const unsigned stored : {0u, 1u, 2u, 3u}) {
                const auto kernel = cut_kernel(context, chain, isa, stored);
                REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
                CAPTURE(kernel->name());
                CAPTURE(stored);
                CHECK(kernel->steps() == 1 + static_cast<int>((stored & 1u) + (stored >> 1)));
                CHECK((kernel->shared_bytes() > 0) == (stored != 0));
                GuardedCall call(*make_problem(chain), *kernel);
                call.clear();
                REQUIRE((*kernel)(call.args()).ok());
                const std::vector<float> expected = call.output();
                for (const int parts : {1, 2, 5}) {
                    call.clear();
                    REQUIRE(run_by_steps(*kernel, call.args(), parts).ok());
                    CHECK(bitwise_difference(call.output(), expected) == "");
                }
                call.clear();
                REQUIRE(pool->run(*kernel, call.args()).ok());
                CHECK(bitwise_difference(call.output(), expected) == "");
            }
        }
    }
}

TEST_CASE("steps: the last segment's residual may be the output, and what +sum(in) adds the input in any") {
    Context context;
    auto pool = ThreadPool::create({.threads = 3});
    REQUIRE(pool.ok());
    for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::u8}) {
        for (const char* text : {chain_text, summing_text}) {
            ConvChain chain = *ConvChain::parse(text);
            chain.dtype = dtype;
            const Problem problem = *make_problem(chain);
            for (const unsigned stored : {1u, 2u, 3u}) {
                const Kernel kernel = *cut_kernel(context, chain, host_isas(dtype).back(), stored);
                CAPTURE(kernel.name());
                CAPTURE(stored);
                GuardedCall call(problem, kernel);
                call.clear();
                REQUIRE(kernel(call.args()).ok());
                const std::vector<float> expected = call.output();
                if (residual_lies_on_output(problem)) call.sum_in_place();
                call.clear();
                REQUIRE(pool->run(kernel, call.args()).ok());
                CHECK(bitwise_difference(call.output(), expected) == "");
            }
        }
    }
}

TEST_CASE("steps: errors name the step, and the memory that is too small or not aligned") {
    Context context;
    const ConvChain chain = *ConvChain::parse(chain_text);
    const Kernel kernel = *cut_kernel(context, chain, host_isas(DataType::f32).front(), 3);
    GuardedCall call(*make_problem(chain), kernel);
    const AlignedBuffer scratch = memory_of(kernel.scratch_bytes()),
                        shared = memory_of(kernel.shared_bytes() + 64);
    const auto message = [&](int step, int part, std::span<std::byte> memory) {
        const Status status = kernel.run_step(step, part, 2, call.args(), span_of(scratch), memory);
        return status ? std::string() : status.error().message;
    };
    CHECK(message(0, 0, span_of(shared)) == "");
    CHECK(message(3, 0, span_of(shared)) == "step is 3; 0 to 2 is accepted.");
    CHECK(message(-1, 0, span_of(shared)) == "step is -1; 0 to 2 is accepted.");
    CHECK(message(0, 2, span_of(shared)) == "part is 2 of nparts 2; 0 <= part < nparts is accepted.");
    CHECK(message(0, 0, span_of(shared).first(kernel.shared_bytes() - 1)).starts_with("shared has "));
    CHECK(message(0, 0, span_of(shared).subspan(4)).ends_with("an address aligned to 64 bytes is needed."));
    CHECK_FALSE(Kernel().run_step(0, 0, 1, {}, {}, {}).ok());
}
