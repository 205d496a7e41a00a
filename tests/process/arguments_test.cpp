// What callers may get wrong is answered by an Error, at once.
#include "support/doctest.hpp"

#include <chrono>
#include <climits>
#include <cstdlib>
#include <string>
#include <utility>

#include "tandem/tandem.hpp"

using namespace tandem;

namespace {

ConvChain small_chain() { return *ConvChain::parse("1x16x8x8:dw3:conv1o16"); }

template <class Enum>
constexpr Enum out_of_range = static_cast<Enum>(99);

std::string refusal(const ConvChain& chain, const DispatchOptions& options = {}) {
    Context context;
    const auto kernel = context.dispatch(chain, options);
    if (kernel) return "accepted";
    CHECK(kernel.error().code == ErrorCode::invalid_argument);
    return kernel.error().message;
}

std::string refusal(const char* variable, const char* value) {
    setenv(variable, value, 1);
    Context context;
    unsetenv(variable);
    const auto kernel = context.dispatch(small_chain());
    return kernel ? "accepted" : kernel.error().message;
}

}  // namespace

TEST_CASE("threads that no machine has are refused at once") {
    const auto begin = std::chrono::steady_clock::now();
    for (const int threads : {0, -1, 4097, 10000000, INT_MAX, INT_MIN})
        CHECK(refusal(small_chain(), {.threads = threads}) ==
              "options.threads is " + std::to_string(threads) + "; 1 to 4096 is accepted.");
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
    CHECK(refusal(small_chain(), {.threads = 4096}) == "accepted");
}

TEST_CASE("enumerators out of range are refused with the field's name") {
    CHECK(refusal(small_chain(), {.effort = out_of_range<Effort>}) ==
          "options.effort is 99; 0 (estimate) to 2 (exhaustive) is accepted.");
    const auto changed = [](auto change) {
        ConvChain chain = small_chain();
        change(chain);
        const std::string message = refusal(chain);
        CHECK(message != "accepted");
        CHECK(message.find(" is accepted") != std::string::npos);
        return message;
    };
    CHECK(changed([](ConvChain& c) { c.layout = out_of_range<Layout>; }).starts_with("descriptor.layout is"));
    CHECK(changed([](ConvChain& c) { c.math = out_of_range<Math>; }).find(".math is") != std::string::npos);
    CHECK(changed([](ConvChain& c) { c.dtype = out_of_range<DataType>; }).find("dtype is") !=
          std::string::npos);
    CHECK(changed([](ConvChain& c) { c.output_dtypes[1] = out_of_range<DataType>; }).find("dtype") !=
          std::string::npos);
    CHECK(changed([](ConvChain& c) { c.convs[0].kind = out_of_range<ConvKind>; }).find("kind is") !=
          std::string::npos);
    CHECK(changed([](ConvChain& c) {
              c.convs[1].post_ops[0].kind = out_of_range<PostOpKind>;
              c.convs[1].post_op_count = 1;
          }).find("kind is") != std::string::npos);
    CHECK(changed([](ConvChain& c) { c.convs[1].post_op_count = 99; }).find("post_op_count") !=
          std::string::npos);
    CHECK(changed([](ConvChain& c) { c.conv_count = -3; }).find("conv_count") != std::string::npos);
    const auto pool = ThreadPool::create({.threads = 1, .pinning = out_of_range<Pinning>});
    REQUIRE(!pool.ok());
    CHECK(pool.error().message == "pinning is 99; 0 (none) to 2 (one_core) is accepted");
}

TEST_CASE("what was moved from answers with Errors") {
    Context first;
    const Context second = std::move(first);
    CHECK(first.dispatch(small_chain()).error().message.starts_with("This Context is empty"));
    CHECK(!first.load_wisdom("nowhere").ok());
    CHECK(!first.save_wisdom("nowhere").ok());
    CHECK(!first.prewarm({}).ok());
    CHECK(first.cache_stats().entries == 0);
    CHECK(first.wisdom_notes().size() == 1);
    first.clear_cache();
    first = Context();
    CHECK(first.dispatch(small_chain()).ok());
    auto pool = ThreadPool::create({.threads = 1});
    REQUIRE(pool.ok());
    const ThreadPool taken = std::move(*pool);
    CHECK(!pool->parallel([](int) {}).ok());
    CHECK(pool->threads() == 0);
}

TEST_CASE("limits in the environment are whole numbers or Errors") {
    CHECK(refusal("TANDEM_CACHE_CAPACITY", "1k") ==
          "TANDEM_CACHE_CAPACITY is '1k'; a whole number of kernels, 1 or more, is accepted.");
    for (const char* bad : {"0", "-1", " 7", "7 ", "1e3", "99999999999999999999999"}) {
        CHECK(refusal("TANDEM_CACHE_CAPACITY", bad) != "accepted");
        CHECK(refusal("TANDEM_CACHE_BYTES", bad).starts_with("TANDEM_CACHE_BYTES is"));
    }
    CHECK(refusal("TANDEM_CACHE_CAPACITY", "7") == "accepted");
    setenv("TANDEM_CACHE_CAPACITY", "1k", 1);
    CHECK(Context({.cache_capacity = 5}).dispatch(small_chain()).ok());  // the program's own word counts
    unsetenv("TANDEM_CACHE_CAPACITY");
    CHECK(refusal("TANDEM_CACHE_BYTES", "1000000") == "accepted");
    CHECK(refusal("TANDEM_CACHE_CAPACITY", "") == "accepted");
}
