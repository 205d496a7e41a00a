// Instruction timing: cycles of every form that kernels use, which of them compete with FMAs, and what code
// itself costs.
#pragma once

#include "core/cpu/cycle_clock.hpp"
#include "core/cpu/report.hpp"

namespace tandem {

struct InstructionTables {
    ReportTable throughput, latency;  // cycles of an instance
    ReportTable fma_share;   // of an instance's time, what FMAs beside it lose: 1: same ports, 0: others
    ReportTable operations;  // multiplications and additions a cycle, of the multiplying forms
};
/// On the calling thread. AMX forms only where they may be used.
Result<InstructionTables> time_instructions(Isa isa, const CycleClock& clock, const SampleOptions& options);

/// Multiplications and additions of an instance; 0: it does not multiply and add.
double operations_of(const jit::InstructionForm& form);

/// Instructions a cycle of what takes no unit; FMAs a cycle by KB of code (table "footprint").
Result<std::vector<ReportTable>> time_code(Isa isa, const CycleClock& clock, const SampleOptions& options);
/// Cycles of awkward accesses and of tiles' ways in and out.
Result<ReportTable> time_accesses(Isa isa, const CycleClock& clock, const SampleOptions& options);

}  // namespace tandem
