// The only file that asks the CPU. Everything is detected once per process, at the first question: the CPU
// does not change, and TANDEM_ISA is read then too (setting it later has no effect), so that a dispatch
// pays nothing for it.
#include "core/plan/machine.hpp"

#include <cpuid.h>
#include <fmt/format.h>
#include <sched.h>
#include <xbyak/xbyak_util.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/plan/machine_detail.hpp"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr std::array all_isas{Isa::avx2,        Isa::avx2_vnni,   Isa::avx512, Isa::avx512_vnni,
                              Isa::avx512_bf16, Isa::avx512_fp16, Isa::amx};

std::string list_of(std::span<const Isa> isas) {
    std::string text;
    for (const Isa isa : isas) {
        text += text.empty() ? "" : ", ";
        text += to_string(isa);
    }
    return text.empty() ? "none" : text;
}

std::optional<Isa> isa_named(std::string_view text) {
    const auto found = std::ranges::find_if(all_isas, [&](Isa isa) { return text == to_string(isa); });
    return found == all_isas.end() ? std::nullopt : std::optional(*found);
}

bool contains(std::span<const Isa> isas, Isa isa) { return std::ranges::find(isas, isa) != isas.end(); }

// --- CPUID
// ---------------------------------------------------------------------------------------------------------------

using Cpu = Xbyak::util::Cpu;

/// XCR0 has the tiles' configuration and data. A process must ask for permission before it uses them
/// (core/run/amx_permission.hpp).
bool saves_tiles() {
    constexpr std::uint64_t tiles = std::uint64_t{3} << 17;
    return (Cpu::getXfeature() & tiles) == tiles;
}

bool has_tiles(const Cpu& cpu) {
    return cpu.has(Cpu::Type(Cpu::tAMX_TILE) | Cpu::tAMX_BF16 | Cpu::tAMX_INT8);
}

/// Xbyak reports AVX, FMA and AVX-512 only where XCR0 says that the OS saves the registers they need. Each
/// ISA of AVX-512 includes the one before it: a machine that has AMX and hides FP16, which only a
/// hypervisor does, counts as avx512_bf16.
std::vector<Isa> detect_isas(const Cpu& cpu) {
    std::vector<Isa> isas;
    if (!cpu.has(Cpu::Type(Cpu::tAVX2) | Cpu::tFMA | Cpu::tF16C)) {
        return isas;
    }
    isas.push_back(Isa::avx2);
    if (cpu.has(Cpu::tAVX_VNNI)) {
        isas.push_back(Isa::avx2_vnni);
    }
    if (!cpu.has(Cpu::Type(Cpu::tAVX512F) | Cpu::tAVX512BW | Cpu::tAVX512DQ | Cpu::tAVX512VL |
                 Cpu::tAVX512CD)) {
        return isas;
    }
    isas.push_back(Isa::avx512);
    if (cpu.has(Cpu::tAVX512_VNNI)) {
        isas.push_back(Isa::avx512_vnni);
        if (cpu.has(Cpu::tAVX512_BF16)) {
            isas.push_back(Isa::avx512_bf16);
            if (cpu.has(Cpu::Type(Cpu::tAVX512_FP16) | Cpu::tAVX512_VBMI)) {
                isas.push_back(Isa::avx512_fp16);
                if (has_tiles(cpu) && saves_tiles()) {
                    isas.push_back(Isa::amx);
                }
            }
        }
    }
    return isas;
}

/// Zen 4 (family 0x19 with AVX-512) executes a 512-bit FMA as two 256-bit halves. Zen 5 (family 0x1A)
/// counts as full-width: true of its server and desktop parts; some mobile ones are halved, and would
/// merely get a less suited plan.
bool detect_fast_ymm(const Cpu& cpu) {
    return cpu.has(Cpu::tAMD) && cpu.displayFamily == 0x19 && cpu.has(Cpu::tAVX512F);
}

/// Measured on Emerald Rapids: a vdpbf16ps every 1.9 cycles, two FMAs a cycle. Cooper Lake (model 0x55),
/// the only earlier one of Intel's with the instruction, has it at the full rate, and so have AMD's.
bool detect_slow_bf16(const Cpu& cpu) {
    constexpr int cooper_lake = 0x55;
    return cpu.has(Cpu::tINTEL) && cpu.has(Cpu::tAVX512_BF16) && cpu.displayModel != cooper_lake;
}

std::string detect_cpu_name() {
    constexpr unsigned first_leaf = 0x80000002, leaves = 3;
    if (static_cast<unsigned>(__get_cpuid_max(0x80000000, nullptr)) < first_leaf + leaves - 1) {
        return "unknown x86-64 CPU";
    }
    std::array<unsigned, 4 * leaves> words{};
    for (unsigned i = 0; i < leaves; ++i) {
        unsigned* word = &words[4 * i];
        __cpuid(first_leaf + i, word[0], word[1], word[2], word[3]);
    }
    std::array<char, sizeof words + 1> text{};
    std::memcpy(text.data(), words.data(), sizeof words);
    const std::string_view padded = text.data();
    const std::size_t begin = padded.find_first_not_of(' ');
    const std::size_t end = padded.find_last_not_of(' ');
    return begin == std::string_view::npos ? "unknown x86-64 CPU"
                                           : std::string(padded.substr(begin, end - begin + 1));
}

// --- caches, from sysfs
// --------------------------------------------------------------------------------------------------

struct CacheEntry {
    int level = 0;
    std::size_t bytes = 0;
    int sharers = 1;  // hardware threads
};

std::string read_word(const fs::path& file) {
    std::string word;
    std::ifstream(file) >> word;
    return word;
}

/// "32K" or "16M" in bytes; 0 if it is neither.
std::size_t parse_size(std::string_view text) {
    std::size_t number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) {
        return 0;
    }
    const std::string_view unit(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
    return unit == "K" ? number << 10 : unit == "M" ? number << 20 : unit.empty() ? number : 0;
}

/// Calls visit(first, last) for every range of a list of CPUs like "0-3,8-11".
template <class Visit>
void each_range(std::string_view list, Visit visit) {
    while (!list.empty()) {
        const std::size_t comma = std::min(list.find(','), list.size());
        int first = 0, last = 0;
        const char* end = list.data() + comma;
        const auto parsed = std::from_chars(list.data(), end, first);
        last = first;
        if (parsed.ptr != end && *parsed.ptr == '-') {
            std::from_chars(parsed.ptr + 1, end, last);
        }
        visit(first, last);
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
}

/// How many CPUs the list has; at least 1.
int count_cpus(std::string_view list) {
    int count = 0;
    each_range(list, [&](int first, int last) { count += std::max(0, last - first + 1); });
    return std::max(count, 1);
}

bool lists_cpu(std::string_view list, int cpu) {
    bool found = false;
    each_range(list, [&](int first, int last) { found |= first <= cpu && cpu <= last; });
    return found;
}

/// Linux names the kinds of a hybrid Intel processor by their performance counters' devices; other
/// processors have neither.
std::string detect_core_kind(int cpu) {
    for (const char* kind : {"core", "atom"}) {
        const std::string cpus = read_word(fmt::format("/sys/devices/cpu_{}/cpus", kind));
        if (!cpus.empty() && lists_cpu(cpus, cpu)) {
            return kind;
        }
    }
    return {};
}

std::optional<CacheEntry> read_cache(const fs::path& directory) {
    const std::string type = read_word(directory / "type"), level = read_word(directory / "level");
    if ((type != "Data" && type != "Unified") || level.size() != 1) {
        return std::nullopt;
    }
    const CacheEntry entry{level[0] - '0', parse_size(read_word(directory / "size")),
                           count_cpus(read_word(directory / "shared_cpu_list"))};
    return entry.bytes > 0 ? std::optional(entry) : std::nullopt;
}

/// The first CPU that this thread may run on.
int first_cpu() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &set)) {
                return cpu;
            }
        }
    }
    return 0;
}

// --- the host, detected once
// ---------------------------------------------------------------------------------------------

struct Host {
    std::vector<Isa> isas;
    Machine machine;  // its isa is not decided yet
    bool withholds_amx = false;
};

Host detect_host() {
    const Cpu cpu;
    Host host;
    host.isas = detect_isas(cpu);
    host.withholds_amx = has_tiles(cpu) && !saves_tiles();
    const int cpu_index = first_cpu();
    host.machine.caches = read_caches(fmt::format("/sys/devices/system/cpu/cpu{}", cpu_index));
    host.machine.core_kind = detect_core_kind(cpu_index);
    host.machine.cpu_name = detect_cpu_name();
    host.machine.fast_ymm = detect_fast_ymm(cpu);
    host.machine.slow_bf16 = detect_slow_bf16(cpu);
    return host;
}

const Host& host() {
    static const Host detected = detect_host();
    return detected;
}

Result<Machine> machine_for(std::optional<Isa> asked, std::optional<std::string_view> environment) {
    const Result<Isa> isa = choose_isa(asked, environment, host().isas);
    if (!isa) {
        return isa.error();
    }
    Machine machine = host().machine;
    machine.isa = *isa;
    return machine;
}

}  // namespace

const char* to_string(Isa isa) noexcept {
    switch (isa) {
        case Isa::avx2: return "avx2";
        case Isa::avx2_vnni: return "avx2_vnni";
        case Isa::avx512: return "avx512";
        case Isa::avx512_vnni: return "avx512_vnni";
        case Isa::avx512_bf16: return "avx512_bf16";
        case Isa::avx512_fp16: return "avx512_fp16";
        case Isa::amx: return "amx";
    }
    return "unknown";
}

Result<Isa> parse_isa(std::string_view text) {
    if (const auto isa = isa_named(text)) {
        return *isa;
    }
    return Error{ErrorCode::parse_error,
                 fmt::format("ISA '{}' is not known; accepted: {}", text, list_of(all_isas))};
}

Result<Isa> choose_isa(std::optional<Isa> asked, std::optional<std::string_view> environment,
                       std::span<const Isa> available) {
    if (available.empty()) {
        return Error{ErrorCode::unsupported,
                     "this machine has none of the ISAs that Tandem generates code for; it needs a CPU with "
                     "AVX2 and FMA "
                     "and an operating system that saves the ymm registers"};
    }
    const bool from_environment = !asked && environment && !environment->empty();
    if (from_environment) {
        asked = isa_named(*environment);
        if (!asked) {
            return Error{ErrorCode::invalid_argument,
                         fmt::format("TANDEM_ISA is '{}', which is not known; accepted here: {}",
                                     *environment, list_of(available))};
        }
    }
    if (!asked) {
        return available.back();
    }
    if (!contains(available, *asked)) {
        return Error{
            ErrorCode::unsupported,
            fmt::format(
                "{} is '{}', which this CPU or its operating system does not offer; accepted here: {}",
                from_environment ? "TANDEM_ISA" : "isa", to_string(*asked), list_of(available))};
    }
    return *asked;
}

CacheSizes read_caches(const fs::path& cpu_directory) {
    CacheSizes caches;
    constexpr int most_entries = 16;  // CPUs have 3 to 5: two L1, L2, L3 and perhaps L4
    int threads_per_core = 1;         // the sharers of L1, which is listed first
    for (int i = 0; i < most_entries; ++i) {
        const auto cache = read_cache(cpu_directory / "cache" / fmt::format("index{}", i));
        if (!cache) {
            continue;
        }
        const int cores = std::max(1, cache->sharers / threads_per_core);
        switch (cache->level) {
            case 1:
                caches.l1 = cache->bytes;
                threads_per_core = cache->sharers;
                break;
            case 2: caches.l2 = cache->bytes / static_cast<std::size_t>(cores); break;
            case 3:
                caches.l3 = cache->bytes;
                caches.l3_cores = cores;
                break;
        }
    }
    return caches;
}

const std::vector<Isa>& host_isas() { return host().isas; }

bool os_withholds_amx() { return host().withholds_amx; }

std::vector<Isa> host_isas(DataType dtype, Math math) {
    std::vector<Isa> isas;
    for (const Isa isa : host_isas()) {
        if (const Isa least = least_isa(dtype, math, isa); !contains(isas, least)) {
            isas.push_back(least);
        }
    }
    return isas;
}

Isa least_isa(DataType dtype, Math math, Isa isa) noexcept {
    const Isa plain = is_avx512(isa) ? Isa::avx512 : Isa::avx2;
    if (dtype == DataType::f16) {
        return math == Math::f16 && has_fp16(isa) ? Isa::avx512_fp16 : plain;
    }
    if (has_amx(isa)) {
        return isa;
    }
    if (is_quantized(dtype)) {
        if (has_vbmi(isa)) {
            return Isa::avx512_fp16;
        }
        return !has_vnni(isa) ? plain : is_avx512(isa) ? Isa::avx512_vnni : Isa::avx2_vnni;
    }
    const bool bf16 = dtype == DataType::bf16 || math == Math::bf16;
    return bf16 && has_bf16(isa) ? Isa::avx512_bf16 : plain;
}

const Result<Machine>& default_machine() {
    static const Result<Machine> machine = [] {
        const char* text = std::getenv("TANDEM_ISA");
        return machine_for(std::nullopt, text ? std::optional<std::string_view>(text) : std::nullopt);
    }();
    return machine;
}

Result<Machine> host_machine(std::optional<Isa> isa) {
    return isa ? machine_for(isa, std::nullopt) : default_machine();
}

}  // namespace tandem
