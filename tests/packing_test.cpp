// Whose packed weights serve which kernel: panels are compared by value, whatever the sizes of images.
#include "support/doctest.hpp"

#include <cstring>
#include <memory>

#include "core/plan/tiling.hpp"
#include "core/run/kernel_code.hpp"
#include "support/guarded_call.hpp"
#include "tandem/context.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

/// Under the rules' plan, whose blocks do not depend on the size of the image.
Kernel kernel_of(Context& context, const char* text, Layout layout = Layout::nhwc) {
    ConvChain chain = *ConvChain::parse(text);
    chain.layout = layout;
    const Plan plan = rules_plan(*make_problem(chain), *host_machine(), 1);
    return *context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
}

/// A call of `kernel` with its own data, once with its own weights and once with those that `other` packed
/// of the same numbers.
struct SharedCall {
    SharedCall(const Kernel& kernel, const Kernel& other)
        : call(kernel.impl()->problem, kernel),
          weights(*other.pack(call.data().views(kernel.impl()->problem.stage_count),
                              call.data().input_quantization)) {}

    Status run() {
        Args args = call.args();
        args.weights = &weights;
        call.clear();
        return call.kernel()(args);
    }

    GuardedCall call;
    PackedWeights weights;
};

void check_shared(const Kernel& kernel, const Kernel& other) {
    CAPTURE(kernel.name());
    CAPTURE(other.name());
    SharedCall shared(kernel, other);
    shared.call.clear();
    REQUIRE(shared.call.run().ok());
    const std::vector<float> expected = shared.call.output();
    const Status status = shared.run();
    REQUIRE_MESSAGE(status.ok(), status.error().message);
    CHECK(bitwise_difference(shared.call.output(), expected) == "");
}

void check_refused(const Kernel& kernel, const Kernel& other) {
    CAPTURE(kernel.name());
    CAPTURE(other.name());
    const Status status = SharedCall(kernel, other).run();
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == ErrorCode::invalid_argument);
    CHECK(status.error().message.find("weights were packed for another kernel") != std::string::npos);
}

std::size_t in_page(const void* memory) { return reinterpret_cast<std::uintptr_t>(memory) % page_bytes; }

}  // namespace

TEST_CASE("packing: weights and scratch begin at places of their own behind a page") {
    Context context;
    const Kernel kernel = kernel_of(context, "1x32x40x40:dw3:conv1o64");
    GuardedCall call(kernel.impl()->problem, kernel);
    CHECK(in_page(call.weights().memory().data()) == weights_in_page);
    for (const std::size_t place : {std::size_t{0}, weights_in_page, scratch_in_page, shared_in_page}) {
        CHECK(place % 64 == 0);
        Scratch scratch(place);
        const Result<std::span<std::byte>> memory = scratch.reserve(10'000);
        REQUIRE(memory.ok());
        CHECK(in_page(memory->data()) == place);
        CHECK(memory->size() >= 10'000);
        std::ranges::fill(*memory, std::byte{1});
    }
}

TEST_CASE("packed weights: they serve other batches and image sizes where the panels are equal") {
    Context context;
    for (const char* conv : {":conv3o40+bias+relu", ":dw3+bias", ":dw5m2s2+prelu", ":conv1o24+sum(7)"}) {
        const auto sized = [&](const char* size) {
            return kernel_of(context, (std::string(size) + conv).c_str());
        };
        const Kernel small = sized("1x24x8x9"), batch = sized("3x24x8x9"), large = sized("1x24x15x11");
        check_shared(small, batch);
        check_shared(small, large);
        check_shared(large, small);
    }
    // One block of channels between the stages: how far the next would be does not matter.
    const Kernel small = kernel_of(context, "1x8x8x9:dw3+bias:conv1o40"),
                 large = kernel_of(context, "1x8x15x11:dw3+bias:conv1o40");
    check_shared(small, large);
    check_shared(large, small);
}

TEST_CASE("packed weights: offsets that the size changes, other numbers and other blocks are refused") {
    Context context;
    const auto blocked = [&](const char* text) {
        return kernel_of(context, text, Layout::nchw16c);
    };
    const Kernel plain = kernel_of(context, "1x24x8x9:conv3o40+bias");
    check_refused(blocked("1x24x8x9:conv3o40+bias"), blocked("1x24x15x11:conv3o40+bias"));
    check_refused(blocked("1x24x8x9:conv3o40+bias"), plain);
    check_shared(blocked("1x24x8x9:conv3o8+bias"), blocked("1x24x15x11:conv3o8+bias"));
    check_refused(plain, kernel_of(context, "1x24x8x9:conv3o40s2p1+sum(1)+bias"));
    // All sixteen kinds of post-ops, and a parameter of the same size for each.
    check_refused(kernel_of(context, "1x24x8x9:conv1o24+bias+relu"),
                  kernel_of(context, "1x24x8x9:conv1o24+bias+tanh"));

    ConvChain chain = *ConvChain::parse("1x24x8x9:conv3o40+bias");
    const Kernel own = *context.dispatch(chain);
    Plan plan = own.plan();
    plan.stage(0).block_vectors = plan.stage(0).block_vectors == 1 ? 2 : 1;
    const auto other = context.dispatch(chain, {.plan = std::make_shared<const Plan>(plan)});
    REQUIRE_MESSAGE(other.ok(), other.error().message);
    check_refused(own, *other);
}

TEST_CASE("packed weights: quantised ones too") {
    Context context;
    const auto kernel = [&](const char* text, DataType output = DataType::u8) {
        ConvChain chain = *ConvChain::parse(text);
        chain.dtype = DataType::u8;
        chain.output_dtypes[0] = output;
        return *context.dispatch(chain);
    };
    const Kernel small = kernel("1x24x8x9:conv3o40+bias+relu"),
                 large = kernel("2x24x15x11:conv3o40+bias+relu");
    check_shared(small, large);
    check_shared(large, small);
    check_refused(small, kernel("1x24x8x9:conv3o40+bias+relu", DataType::f32));
    check_refused(small, kernel("1x24x8x9:conv3o40+bias+relu6"));
}
