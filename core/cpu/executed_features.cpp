#include "core/cpu/executed_features.hpp"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "core/cpu/cycle_clock.hpp"
#include "core/run/amx_permission.hpp"

namespace tandem {
namespace {

constexpr unsigned patience_seconds = 2;

/// The first form that needs the feature and, beyond what all such forms need, nothing else.
const jit::InstructionForm* form_of(IsaFeature feature) {
    const jit::InstructionForm* least = nullptr;
    for (const jit::InstructionForm& form : jit::instruction_forms())
        if (form.needs.has(feature) && (!least || form.needs.count() < least->needs.count())) least = &form;
    return least;
}

[[noreturn]] void execute(const jit::ProbeLoop& loop, const ProbeMemory& memory) {
    for (const int signal : {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGALRM})
        std::signal(signal, SIG_DFL);
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    alarm(patience_seconds);
    loop.run(1, memory.data());
    _exit(0);
}

std::string outcome_of(const jit::InstructionForm& form) {
    if (has_amx(form.needs)) {
        if (const Status allowed = request_amx(); !allowed) return "not tried: " + allowed.error().message;
    }
    const Result<jit::ProbeLoop> loop = jit::throughput_loop(form, form.needs);
    Result<ProbeMemory> memory = ProbeMemory::create(jit::probe_memory_bytes);
    if (!loop || !memory) return "not tried: " + (!loop ? loop.error() : memory.error()).message;
    memory->fill(0x3ebd3ebd);
    const pid_t child = fork();
    if (child < 0) return fmt::format("not tried: fork failed: {}", std::strerror(errno));
    if (child == 0) execute(*loop, *memory);
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR) return fmt::format("unknown: waitpid failed: {}", std::strerror(errno));
    return outcome_text(status);
}

}  // namespace

std::string outcome_text(int status) {
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == 0 ? "runs" : fmt::format("exit code {}", WEXITSTATUS(status));
    if (!WIFSIGNALED(status)) return "stopped";
    switch (WTERMSIG(status)) {
        case SIGILL: return "SIGILL";
        case SIGSEGV: return "SIGSEGV";
        case SIGBUS: return "SIGBUS";
        case SIGFPE: return "SIGFPE";
        case SIGALRM: return "hangs";
        default: return fmt::format("signal {}", WTERMSIG(status));
    }
}

std::vector<ExecutedFeature> execute_features(const CpuQueries& cpu) {
    const std::optional<Isa> advertised = detect_features(cpu);
    std::vector<ExecutedFeature> features;
    for (int i = 0; i < isa_feature_count; ++i) {
        const auto feature = static_cast<IsaFeature>(i);
        const jit::InstructionForm* const form = form_of(feature);
        features.push_back({to_string(feature), advertised && advertised->has(feature),
                            form ? outcome_of(*form) : "not tried: no kernel uses it"});
    }
    return features;
}

}  // namespace tandem
