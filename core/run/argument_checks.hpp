// What a call's arguments have to be: there, large enough, aligned, packed for the kernel, and apart.
#pragma once

#include "core/run/kernel_code.hpp"

namespace tandem {

/// `packed`: null where the call brings none. Does not allocate on success.
Status check_args(const KernelImpl& kernel, const Args& args, const PackedData* packed);

}  // namespace tandem
