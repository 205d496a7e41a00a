// AMX permission: Linux gives a process the use of AMX's tile registers only on request.
#pragma once

#include "tandem/result.hpp"

namespace tandem {

/// Asks once, at the first call of the process; every later call has the same answer. The error says why
/// AMX cannot be used. Thread-safe.
Status request_amx();

}  // namespace tandem
