// One verification as a job for run_forked(): the failure as text, and the command that reruns it even
// after a crash.
#pragma once

#include <string>

#include <fmt/format.h>

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
    std::string dtypes = to_string(chain.dtype);
    const auto last = static_cast<std::size_t>(chain.conv_count - 1);
    if (last > 0 && chain.output_dtypes[0])
        dtypes += std::string(" --intermediate-dtype ") + to_string(*chain.output_dtypes[0]);
    if (chain.output_dtypes[last])
        dtypes += std::string(" --output-dtype ") + to_string(*chain.output_dtypes[last]);
    return fmt::format("tandem check '{}' --isa {} --layout {} --dtype {} --threads {} --seed {}",
                       to_string(chain), options.dispatch.isa ? to_string(*options.dispatch.isa) : "?",
                       to_string(chain.layout), dtypes, options.threads, options.seed);
}

}  // namespace tandem::test
