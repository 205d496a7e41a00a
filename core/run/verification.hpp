// Verification: runs a generated kernel on made-up data and compares it with the reference. What the tests
// and `tandem check` share.
//
// One call checks that results agree with the reference (equal where the data is exact, else within
// tolerance.hpp), that splitting the work into parts, run in any order or at once, changes no bit, that
// every output is written and padding channels are zero, that padding channels and gaps of the inputs are
// ignored, and that nothing outside the stated buffers, or in the output's gaps, is touched.
#pragma once

#include <cstdint>
#include <string>

#include "core/run/verification_data.hpp"
#include "tandem/context.hpp"

namespace tandem {

struct VerifyOptions {
    DispatchOptions dispatch{};
    Kernel kernel{};  // of the same problem: checked instead of what dispatch would give, unless empty
    int threads = 1;  // parts, and threads that run them
    std::uint64_t seed = 1;
    DataKind data = DataKind::integers;  // random all the same where the kernel uses Winograd on bf16 or f16
    bool in_place = false;    // the last stage's residual, which has to lie like the output, is the output
    bool guard_pages = true;  // an access out of bounds then faults: it ends the process
};

struct VerifyReport {
    bool passed = false;
    double max_error = 0;  // max|y - ref| / max|ref|
    bool exact = false;    // every output equals the reference
    DataKind data{};       // what it was compared on
    std::string message;   // empty if passed; else what differs first, and the command that reruns it
    std::string kernel_name;
    bool fused = false;
};

/// An error means that there was nothing to compare: invalid descriptor, failed dispatch, packing, call or
/// mapping.
Result<VerifyReport> verify(Context& context, const ConvChain& chain, const VerifyOptions& options = {});

}  // namespace tandem
