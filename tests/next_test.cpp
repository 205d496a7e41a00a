// Args::next: what it names is prefetched, each tile its share, and no result depends on it.
#include "support/doctest.hpp"

#include <sys/mman.h>

#include <limits>
#include <memory>

#include "core/plan/machine.hpp"
#include "core/plan/tiling.hpp"
#include "core/run/kernel_code.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::size_t line = 64;

/// Where a page was.
std::span<const std::byte> unmapped_memory() {
    constexpr std::size_t bytes = 1 << 20;
    void* const map = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED);
    REQUIRE(munmap(map, bytes) == 0);
    return {static_cast<const std::byte*>(map), bytes};
}

const std::byte* at_address(std::uintptr_t address) { return reinterpret_cast<const std::byte*>(address); }

std::vector<std::span<const std::byte>> spans(const GuardedCall& call) {
    return {call.weights().memory(),
            call.weights().memory().first(1),
            unmapped_memory(),
            {at_address(8), 100'000},
            {at_address(std::uintptr_t{1} << 63), std::numeric_limits<std::size_t>::max()},
            {at_address(std::numeric_limits<std::uintptr_t>::max() - 70), 1 << 20}};
}

Status run_steps(const GuardedCall& call, const Args& args, int parts) {
    const Kernel& kernel = call.kernel();
    const auto shared = GuardedBuffer::create(kernel.shared_bytes(), Placement::flush_end, 64);
    REQUIRE(shared.ok());
    for (int step = 0; step < kernel.steps(); ++step)
        for (int part = 0; part < parts; ++part)
            if (Status status = kernel.run_step(step, part, parts, args, call.scratch(), (*shared).bytes());
                !status)
                return status;
    return {};
}

void check_results(const Kernel& kernel, const ConvChain& chain) {
    GuardedCall call(*make_problem(chain), kernel);
    call.clear();
    REQUIRE(call.run().ok());
    const std::vector<float> expected = call.output();
    for (const std::span<const std::byte> next : spans(call)) {
        Args args = call.args();
        args.next = next;
        for (const int parts : {1, 3}) {
            call.clear();
            for (int part = 0; part < parts; ++part)
                REQUIRE(kernel.run(part, parts, args, call.scratch()).ok());
            CHECK(bitwise_difference(call.output(), expected) == "");
            call.clear();
            REQUIRE(run_steps(call, args, parts).ok());
            CHECK(bitwise_difference(call.output(), expected) == "");
        }
    }
}

/// What a tile function left of its share.
struct Fetched {
    std::uintptr_t upcoming, end;
};
std::vector<Fetched> fetched;

class Recorder final : public TileRunner {
public:
    explicit Recorder(std::unique_ptr<const TileRunner> runner) : runner_(std::move(runner)) {}
    void run(jit::TileArgs& args, std::size_t function, std::byte* scratch) const noexcept override {
        runner_->run(args, function, scratch);
        fetched.push_back({args.upcoming, args.upcoming_end});
    }
    std::size_t scratch_bytes() const noexcept override { return runner_->scratch_bytes(); }
    std::string explain() const override { return runner_->explain(); }

private:
    std::unique_ptr<const TileRunner> runner_;
};

/// A kernel for a machine with `l2` bytes of L2 whose segments' runners are recorded.
Kernel recorded_kernel(const Problem& problem, Plan plan, Machine machine, std::size_t l2) {
    machine.caches.l2 = l2;
    KernelCode::Options options;
    options.machine = machine;
    const auto created = KernelCode::create(problem, plan, "recorded", options);
    REQUIRE_MESSAGE(created.ok(), created.error().message);
    const auto code = std::const_pointer_cast<KernelCode>(*created);
    for (SegmentCode& segment : code->segments)
        segment.runner = std::make_unique<const Recorder>(std::move(segment.runner));
    return Kernel(KernelImpl::create(problem, code));
}

}  // namespace

TEST_CASE("next: whatever it names, every kind of stage computes what it does without") {
    Context context;
    for (const char* text :
         {"2x40x11x13:dw3+bias+relu6:conv1o50+bias+sum", "1x64x12x12:conv3o48+bias:conv3o33+bias",
          "1x24x9x9:conv1o96+relu:dw3+relu:conv1o24+sum(in)", "1x48x9x9:dw3", "1x3x20x20:conv3o24s2:dw3"}) {
        for (const DataType dtype : {DataType::f32, DataType::bf16, DataType::u8}) {
            ConvChain chain = *ConvChain::parse(text);
            chain.dtype = dtype;
            for (const Isa isa : host_isas(dtype)) {
                const auto kernel = context.dispatch(chain, {.isa = isa});
                REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
                CAPTURE(kernel->name());
                check_results(*kernel, chain);
            }
        }
    }
}

TEST_CASE("next: the same where an edge is stored and the last segment has no dense stage") {
    Context context;
    const ConvChain chain = *ConvChain::parse("2x32x10x10:conv1o64+relu:dw3");
    Plan plan = rules_plan(*make_problem(chain), *host_machine(), 1);
    plan.edge(0) = Edge::stored;
    plan.stored[0] = {.tile_h = 3, .tile_w = 10};
    const auto kernel = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    CHECK(kernel->impl()->code->fetching_segment == 0);
    check_results(*kernel, chain);
}

TEST_CASE("next: each tile prefetches its share, all of them half of L2 at most") {
    constexpr std::size_t l2 = 64 * 1024, beyond = 8 * line;  // a burst may end behind the share
    const Problem problem = *make_problem(*ConvChain::parse("1x64x28x28:dw3:conv1o64"));
    for (const Isa isa : host_isas(DataType::f32)) {
        const Machine machine = *host_machine(isa);
        Plan plan = rules_plan(problem, machine, 1);
        plan.tile_h = 7;
        GuardedCall call(problem, recorded_kernel(problem, plan, machine, l2));
        CAPTURE(call.kernel().name());
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{100}, l2 / 4, l2 / 2, 2 * l2}) {
            CAPTURE(bytes);
            fetched.clear();
            const std::uintptr_t begin = 1 << 20;
            Args args = call.args();
            args.next = {at_address(begin), bytes};
            REQUIRE(call.kernel().run(0, 1, args, call.scratch()).ok());
            REQUIRE(fetched.size() == 4);
            for (std::size_t tile = 0; tile < 4; ++tile) {
                const std::uintptr_t end = begin + std::min(bytes, l2 / 2) * (tile + 1) / 4;
                CHECK(fetched[tile].end == end);
                CHECK(fetched[tile].upcoming >= end);
                CHECK(fetched[tile].upcoming < end + beyond);
                if (bytes == 0) CHECK(fetched[tile].upcoming == begin);
            }
        }
    }
}

TEST_CASE("next: packed weights name their memory, null with a size is refused") {
    Context context;
    const ConvChain chain = *ConvChain::parse("1x16x9x9:dw3:conv1o16");
    const auto kernel = context.dispatch(chain);
    REQUIRE(kernel.ok());
    GuardedCall call(*make_problem(chain), *kernel);
    CHECK(call.weights().memory().size() == call.weights().bytes());
    CHECK(call.weights().memory().size() >= sizeof(float) * (16 * 9 + 16 * 16));
    CHECK(PackedWeights().memory().empty());
    Args args = call.args();
    args.next = {static_cast<const std::byte*>(nullptr), 7};
    const Status status = kernel->run(0, 1, args, call.scratch());
    REQUIRE(!status);
    CHECK(status.error().code == ErrorCode::invalid_argument);
    CHECK(status.error().message == "next is null and has 7 bytes; an empty span, or memory, is accepted.");
}
