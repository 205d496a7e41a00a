// How much stack a host's threads need.
#include "support/doctest.hpp"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "process/small_kernels.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

constexpr std::size_t stack_bytes = std::size_t{256} << 10, allowed_bytes = std::size_t{64} << 10;
constexpr std::byte painted{0xa5};
#ifdef TANDEM_SANITIZED
constexpr bool sanitized = true;  // code that sanitizers instrument needs more
#else
constexpr bool sanitized = false;
#endif

void* call(void* body) {
    (*static_cast<const std::function<void()>*>(body))();
    return nullptr;
}

// Bytes of stack that a thread that calls body() has touched.
std::size_t stack_used(const std::function<void()>& body) {
    void* const stack =
        mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    REQUIRE(stack != MAP_FAILED);
    std::memset(stack, static_cast<int>(painted), stack_bytes);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stack, stack_bytes);
    pthread_t thread;
    REQUIRE(pthread_create(&thread, &attributes, &call, const_cast<std::function<void()>*>(&body)) == 0);
    pthread_join(thread, nullptr);
    pthread_attr_destroy(&attributes);
    const std::span bytes(static_cast<const std::byte*>(stack), stack_bytes);
    const auto touched = std::ranges::find_if(bytes, [](std::byte b) { return b != painted; });
    const auto used = static_cast<std::size_t>(bytes.end() - touched);
    munmap(stack, stack_bytes);
    return used;
}

void dispatch_and_run(const std::string& text, const DispatchOptions& options = {}) {
    Context context;  // nothing of it is compiled yet
    const auto chain = ConvChain::parse(text);
    REQUIRE(chain.ok());
    const auto kernel = context.dispatch(*chain, options);
    REQUIRE_MESSAGE(kernel.ok(), kernel.error().message);
    SmallCall call(*kernel, *chain);
    CHECK((*kernel)(call.args()).ok());
}

}  // namespace

TEST_CASE("dispatch and run need less than 64 KB of stack") {
    if (sanitized) {
        MESSAGE("skipped under a sanitizer");
        return;
    }
    const std::string wisdom = "stack_test_wisdom.json";  // is read, too
    REQUIRE(Context().save_wisdom(wisdom).ok());
    setenv("TANDEM_WISDOM", wisdom.c_str(), 1);
    for (const std::string& text : chains_of_all_kinds()) {
        const std::size_t used = stack_used([&] { dispatch_and_run(text); });
        CAPTURE(text);
        MESSAGE(text << ": " << used << " bytes of stack");
        CHECK(used < allowed_bytes);
    }
}

TEST_CASE("effort measure needs less than 64 KB of stack, wisdom read and saved included") {
    if (sanitized) {
        MESSAGE("skipped under a sanitizer");
        return;
    }
    setenv("TANDEM_WISDOM", "stack_test_wisdom.json", 1);
    const std::size_t used =
        stack_used([] { dispatch_and_run("1x8x6x6:dw3:conv1o16", {.effort = Effort::measure}); });
    MESSAGE(used << " bytes of stack");
    CHECK(used < allowed_bytes);
    std::remove("stack_test_wisdom.json");
    std::remove("stack_test_wisdom.json.lock");
}
