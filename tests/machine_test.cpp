#include "core/plan/machine.hpp"

#include "support/doctest.hpp"
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/plan/machine_detail.hpp"

namespace fs = std::filesystem;
using tandem::choose_isa;
using tandem::Isa;

namespace {

const std::vector<Isa> both{Isa::avx2, Isa::avx512};
const std::vector<Isa> only_avx2{Isa::avx2};

bool mentions(const tandem::Error& error, const std::string& text) {
    return error.message.find(text) != std::string::npos;
}

/// A sysfs CPU directory with the given caches, removed at the end.
class FakeCpu {
public:
    FakeCpu() {
        std::string name = (fs::temp_directory_path() / "tandem-cpu-XXXXXX").string();
        path_ = mkdtemp(name.data());
    }
    ~FakeCpu() { fs::remove_all(path_); }
    FakeCpu(const FakeCpu&) = delete;
    FakeCpu& operator=(const FakeCpu&) = delete;

    void cache(const std::string& level, const std::string& type, const std::string& size,
               const std::string& cpus) {
        const fs::path directory = path_ / "cache" / ("index" + std::to_string(count_++));
        fs::create_directories(directory);
        std::ofstream(directory / "level") << level << '\n';
        std::ofstream(directory / "type") << type << '\n';
        std::ofstream(directory / "size") << size << '\n';
        std::ofstream(directory / "shared_cpu_list") << cpus << '\n';
    }
    tandem::CacheSizes read() const { return tandem::read_caches(path_); }

private:
    fs::path path_;
    int count_ = 0;
};

}  // namespace

TEST_CASE("ISA names and their parsing agree") {
    for (const Isa isa : both) {
        CHECK(*tandem::parse_isa(to_string(isa)) == isa);
    }
    const auto wrong = tandem::parse_isa("sse9");
    REQUIRE(!wrong.ok());
    CHECK(wrong.error().code == tandem::ErrorCode::parse_error);
    CHECK(mentions(wrong.error(), "'sse9'"));
    CHECK(mentions(wrong.error(), "avx2, avx2_vnni, avx512, avx512_vnni, avx512_bf16, avx512_fp16, amx"));
}

TEST_CASE("the best available ISA is the default") {
    CHECK(*choose_isa({}, {}, both) == Isa::avx512);
    CHECK(*choose_isa({}, "", both) == Isa::avx512);
    CHECK(*choose_isa({}, {}, only_avx2) == Isa::avx2);
}

TEST_CASE("AVX512-FP16 matters to f16 tensors in math f16 only") {
    using tandem::DataType, tandem::Math, tandem::least_isa;
    CHECK(least_isa(DataType::f16, Math::f16, Isa::amx) == Isa::avx512_fp16);
    CHECK(least_isa(DataType::f16, Math::f16, Isa::avx512_fp16) == Isa::avx512_fp16);
    CHECK(least_isa(DataType::f16, Math::f16, Isa::avx512_bf16) == Isa::avx512);
    CHECK(least_isa(DataType::f16, Math::f16, Isa::avx2_vnni) == Isa::avx2);
    CHECK(least_isa(DataType::f16, Math::fast, Isa::avx512_fp16) == Isa::avx512);
    CHECK(least_isa(DataType::f32, Math::fast, Isa::avx512_fp16) == Isa::avx512);
    CHECK(least_isa(DataType::bf16, Math::fast, Isa::avx512_fp16) == Isa::avx512_bf16);
    CHECK(least_isa(DataType::u8, Math::fast, Isa::avx512_fp16) == Isa::avx512_fp16);
    CHECK(least_isa(DataType::u8, Math::fast, Isa::avx512_bf16) == Isa::avx512_vnni);
}

TEST_CASE("TANDEM_ISA overrides the default, an explicit ISA overrides both") {
    CHECK(*choose_isa({}, "avx2", both) == Isa::avx2);
    CHECK(*choose_isa(Isa::avx512, "avx2", both) == Isa::avx512);
    CHECK(*choose_isa(Isa::avx2, "nonsense", both) == Isa::avx2);
}

TEST_CASE("an unknown TANDEM_ISA is an error that lists what is accepted") {
    const auto isa = choose_isa({}, "avx1024", both);
    REQUIRE(!isa.ok());
    CHECK(isa.error().code == tandem::ErrorCode::invalid_argument);
    CHECK(mentions(isa.error(), "TANDEM_ISA is 'avx1024'"));
    CHECK(mentions(isa.error(), "avx2, avx512"));
}

TEST_CASE("an unavailable ISA is an error that names who asked") {
    const auto from_environment = choose_isa({}, "avx512", only_avx2);
    REQUIRE(!from_environment.ok());
    CHECK(from_environment.error().code == tandem::ErrorCode::unsupported);
    CHECK(mentions(from_environment.error(), "TANDEM_ISA is 'avx512'"));
    CHECK(mentions(from_environment.error(), "accepted here: avx2"));

    const auto from_caller = choose_isa(Isa::avx512, {}, only_avx2);
    REQUIRE(!from_caller.ok());
    CHECK(mentions(from_caller.error(), "isa is 'avx512'"));
}

TEST_CASE("a CPU without AVX2 is an error, whoever asked for what") {
    CHECK(choose_isa({}, {}, {}).error().code == tandem::ErrorCode::unsupported);
    CHECK(mentions(choose_isa(Isa::avx2, {}, {}).error(), "AVX2 and FMA"));
}

TEST_CASE("caches: an SMT core with its own L2 and a shared L3") {
    FakeCpu cpu;
    cpu.cache("1", "Data", "48K", "0,8");
    cpu.cache("1", "Instruction", "32K", "0,8");
    cpu.cache("2", "Unified", "2048K", "0,8");
    cpu.cache("3", "Unified", "36M", "0-15");
    CHECK(cpu.read() == tandem::CacheSizes{.l1 = 48 << 10, .l2 = 2 << 20, .l3 = 36 << 20, .l3_cores = 8});
}

TEST_CASE("caches: an L2 shared by a cluster is divided among its cores") {
    FakeCpu cpu;
    cpu.cache("1", "Data", "32K", "16");
    cpu.cache("2", "Unified", "4096K", "16-19");
    CHECK(cpu.read().l2 == 1 << 20);
}

TEST_CASE("caches: what is not stated keeps its default") {
    FakeCpu cpu;
    CHECK(cpu.read() == tandem::CacheSizes{});
    cpu.cache("1", "Data", "64K", "0");
    cpu.cache("2", "Unified", "unknown", "0");
    CHECK(cpu.read() == tandem::CacheSizes{.l1 = 64 << 10});
}

TEST_CASE("the host describes itself") {
    const auto& isas = tandem::host_isas();
    CHECK(std::ranges::is_sorted(isas));
    for (const Isa isa : isas) {
        const auto machine = tandem::host_machine(isa);
        REQUIRE(machine.ok());
        CHECK(machine->isa == isa);
        CHECK(!machine->cpu_name.empty());
        CHECK(machine->caches.l1 >= 8 << 10);
        CHECK(machine->caches.l2 >= machine->caches.l1);
        CHECK(machine->caches.l3_cores >= 1);
    }
    CHECK(tandem::host_machine().ok() == tandem::default_machine().ok());
}
