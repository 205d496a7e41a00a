// Every public header, and enough of each to be linked with what it declares.
#include <tandem/code_observer.hpp>
#include <tandem/tandem.hpp>
#include <tandem/version.h>

#include <cstdio>
#include <memory>
#include <vector>

namespace {

// A class derived from one of the library's: its type information has to be there, too.
struct Counter final : tandem::CodeObserver {
    int codes = 0;
    void created(const tandem::GeneratedCode&) noexcept override { ++codes; }
    void released(const tandem::GeneratedCode&) noexcept override {}
};

int failed(const tandem::Error& error) {
    std::fprintf(stderr, "%s: %s\n", to_string(error.code), error.message.c_str());
    return 1;
}

}  // namespace

int main() {
    const auto counter = std::make_shared<Counter>();
    tandem::Context context({.observer = counter});
    const auto chain = tandem::ConvChain::parse("1x16x8x8:dw3+bias+relu6:conv1o8");
    if (!chain) return failed(chain.error());
    const auto kernel = context.dispatch(*chain);
    if (!kernel) return failed(kernel.error());
    const std::vector<float> x(16 * 8 * 8, 1.0f), w1(16 * 9, 0.25f), b1(16, 0.5f), w2(8 * 16, 0.5f);
    std::vector<float> y(8 * 8 * 8);
    const auto weights = kernel->pack(w1, b1, w2, {});
    if (!weights) return failed(weights.error());
    auto pool = tandem::ThreadPool::create({.threads = 2});
    if (!pool) return failed(pool.error());
    const auto status = pool->run(*kernel, {.input = x.data(), .output = y.data(), .weights = &*weights});
    if (!status) return failed(status.error());
    const float inside = y[(4 * 8 + 4) * 8];  // 16 * 0.5 * (9 * 0.25 + 0.5)
    std::printf("tandem %d.%d: %s = %g, %d kernel\n", TANDEM_VERSION_MAJOR, TANDEM_VERSION_MINOR,
                kernel->name().c_str(), static_cast<double>(inside), counter->codes);
    return inside == 22.0f && counter->codes == 1 ? 0 : 1;
}
