// The rates of this machine, measured with the emitter's own kernels: small convolutions whose time is that
// of one register block, and a few larger ones that show what of each cache level stays exposed.
#pragma once

#include <memory>

#include "core/plan/machine_rates.hpp"

namespace tandem {

/// The rates of one core with the registers of machine.isa, which must be one of host_isas(), measured on
/// the calling thread: some 0.3 s for the first pass, half of that for each further one. Of all passes the
/// fastest sample counts; a machine that is busy in all of them looks slower than it is.
MachineRates measure_rates(const Machine& machine, int passes);

enum class Widths { own, all };  // of registers: those of machine.isa, or all that it has
MeasuredRates measure_machine(const Machine& machine, int passes, Widths widths = Widths::own);

/// measure_machine() of the host, one pass, measured at the first call of the process. Null on a machine
/// without any ISA. Thread-safe.
std::shared_ptr<const MeasuredRates> measured_host();

}  // namespace tandem
