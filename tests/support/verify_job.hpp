// One verification as a job for run_forked(): the failure as text, and the command that reruns it even
// after a crash.
#pragma once

#include <string>

#include <fmt/format.h>

#include "core/run/verification.hpp"

namespace tandem::test {

/// Empty if the kernel agrees with the reference.
inline std::string verify_job(const ConvPair& pair, const VerifyOptions& options) {
    Context context;
    const Result<VerifyReport> report = verify(context, pair, options);
    if (!report) return report.error().message;
    return report->passed ? "" : report->message;
}

inline std::string rerun_command(const ConvPair& pair, const VerifyOptions& options) {
    std::string dtypes = to_string(pair.dtype);
    if (pair.intermediate_dtype)
        dtypes += std::string(" --intermediate-dtype ") + to_string(*pair.intermediate_dtype);
    if (pair.output_dtype) dtypes += std::string(" --output-dtype ") + to_string(*pair.output_dtype);
    return fmt::format("tandem check '{}' --isa {} --layout {} --dtype {} --math {} --threads {} --seed {}",
                       to_string(pair), options.dispatch.isa ? to_string(*options.dispatch.isa) : "?",
                       to_string(pair.layout), dtypes, to_string(pair.math), options.threads, options.seed);
}

}  // namespace tandem::test
