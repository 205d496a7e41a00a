// One verification as a job for run_forked(): the failure as text, and the command that reruns it even
// after a crash.
#pragma once

#include <string>

#include <fmt/format.h>

#include "core/plan/problem.hpp"
#include "core/run/verification.hpp"

namespace tandem::test {

/// Empty if the kernel agrees with the reference.
inline std::string verify_job(const ConvChain& chain, const VerifyOptions& options) {
    Context context;
    const Result<VerifyReport> report = verify(context, chain, options);
    if (!report) return report.error().message;
    return report->passed ? "" : report->message;
}

inline std::string rerun_command(const ConvChain& chain, const VerifyOptions& options) {
    return fmt::format("tandem check '{}' --isa {} --threads {} --seed {}{}",
                       make_problem(chain).value().name(),
                       options.dispatch.isa ? to_string(*options.dispatch.isa) : "?", options.threads,
                       options.seed, options.in_place ? " --in-place" : "");
}

}  // namespace tandem::test
