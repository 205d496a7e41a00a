#include <tandem/tandem.hpp>

#include <vector>

// One pair, on this thread and on two; the first output.
extern "C" __attribute__((visibility("default"))) float plugin_compute() {
    tandem::Context context;
    const auto chain = tandem::ConvChain::parse("1x16x8x8:dw3+relu:conv1o8");
    if (!chain) return -1;
    const auto kernel = context.dispatch(*chain);
    if (!kernel) return -2;
    const std::vector<float> x(16 * 8 * 8, 1.0f), w1(16 * 9, 0.25f), w2(8 * 16, 0.5f);
    std::vector<float> y(8 * 8 * 8);
    const auto weights = kernel->pack(w1, {}, w2, {});
    if (!weights) return -3;
    const tandem::Args args{.input = x.data(), .output = y.data(), .weights = &*weights};
    if (!(*kernel)(args)) return -4;
    auto pool = tandem::ThreadPool::create({.threads = 2});
    if (!pool || !pool->run(*kernel, args)) return -5;
    return y[(4 * 8 + 4) * 8];
}
