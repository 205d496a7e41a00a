// CpuReport: what `tandem cpu` found out about a machine, as plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/cpu/figure.hpp"
#include "core/plan/machine.hpp"

namespace tandem {

/// One measured number. What `x` is, the table says.
struct Reading {
    std::string name{};
    double x = 0;
    int threads = 1;
    Figure figure{};
    bool operator==(const Reading&) const = default;
};

struct ReportTable {
    std::string name{};  // "latency"
    std::string unit{};  // of the figures: "cycles"
    std::string x{};     // what Reading::x is: "KB"; empty: nothing
    std::vector<Reading> readings{};
    bool operator==(const ReportTable&) const = default;
};

/// A feature as CPUID has it, and what came of executing it.
struct ExecutedFeature {
    std::string name{};
    bool advertised = false;
    std::string outcome{};  // "runs", "SIGILL", "not tried: ..."
    bool operator==(const ExecutedFeature&) const = default;
};

struct CpuReport {
    std::string date{};        // ISO 8601
    std::string hypervisor{};  // its signature, e.g. "KVMKVMKVM"; empty: none
    std::string amx{};         // "granted", or why not
    double seconds = 0;        // that measuring took
    bool quick = false;
    std::size_t l1_instructions = 0;  // bytes
    std::uint64_t xcr0 = 0;
    std::vector<std::string> palettes{};  // of AMX, a sentence each
    std::vector<ExecutedFeature> features{};
    std::vector<ReportTable> tables{};

    /// Null where there is none.
    const ReportTable* table(const std::string& name) const;
    const Reading* reading(const std::string& table, const std::string& name, double x = 0,
                           int threads = 1) const;
    bool operator==(const CpuReport&) const = default;
};

}  // namespace tandem
