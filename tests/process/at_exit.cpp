// A program that calls Tandem when it should be over: from destructors of static and thread-local objects.
// Exits with 0 if all went well; run under valgrind, too. It links nothing but the library, and so shows what
// static thread-local storage that brings.
#include <link.h>
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <thread>

#include "process/small_kernels.hpp"
#include "tandem/tandem.hpp"

using namespace tandem;
using namespace tandem::test;

namespace {

void require(bool good, const char* what) {
    if (good) return;
    std::fprintf(stderr, "%s: no\n", what);
    _exit(1);
}

// Calls a kernel of the last days, and dispatches another one.
struct LateCaller {
    explicit LateCaller(const char* which) : name(which) {}
    ~LateCaller() {
        require(kernel && (*kernel)(call->args()).ok(), "a kernel works");
        require(!Kernel()(Args{}).ok() && Kernel().name() == "empty kernel",
                "an empty kernel gives an Error");
        const auto late = ConvChain::parse("1x16x7x7:dw3:conv1o32");
        require(late.ok() && Context::shared().dispatch(*late).ok(), "the shared context dispatches");
        Context own;
        const auto fresh = own.dispatch(*late);
        require(fresh.ok(), "a new context dispatches");
        SmallCall small(*fresh, *late);
        require((*fresh)(small.args()).ok(), "a new kernel works");
        require(!ConvChain::parse("nonsense").ok(), "parse gives an Error");
        std::fprintf(stderr, "%s: all well\n", name);
    }
    void prepare() {
        const auto chain = ConvChain::parse("1x32x14x14:dw3+bias:conv1o24");
        kernel = *Context::shared().dispatch(*chain);
        call.emplace(*kernel, *chain);
        require((*kernel)(call->args()).ok(), "a kernel works early");
    }
    const char* name;
    std::optional<Kernel> kernel;
    std::optional<SmallCall> call;
};

LateCaller at_static_end("static object");
thread_local LateCaller at_thread_end("thread-local object");

#ifdef TANDEM_HAVE_LIBXSMM
constexpr std::size_t foreign_tls = 520;  // LIBXSMM's last error and its text
#else
constexpr std::size_t foreign_tls = 0;
#endif

// The library's own.
std::size_t static_tls() {
    std::size_t bytes = 0;
    const auto add = [](dl_phdr_info* info, std::size_t, void* sum) {
        for (int i = 0; i < info->dlpi_phnum; ++i)
            if (info->dlpi_name[0] == '\0' && info->dlpi_phdr[i].p_type == PT_TLS)
                *static_cast<std::size_t*>(sum) += info->dlpi_phdr[i].p_memsz;
        return 0;
    };
    dl_iterate_phdr(add, &bytes);
    return bytes - sizeof at_thread_end - foreign_tls;
}

}  // namespace

int main() {
    require(static_tls() <= 256, "static thread-local storage has at most 256 bytes");
    at_static_end.prepare();
    at_thread_end.prepare();
    std::thread([] { at_thread_end.prepare(); }).join();
    auto pool = ThreadPool::create({.threads = 2});
    require(pool && pool->run(*at_static_end.kernel, at_static_end.call->args()).ok(), "a pool works");
}
